package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
)

// ReloadRequest asks the daemon to read its configuration file again.
type ReloadRequest struct {
	DryRun bool `json:"dry_run,omitempty"` // only tell what that would change
}

// Reloaded tells what a reload changed or, if it was a dry run, would change.
type Reloaded struct {
	DryRun     bool                `json:"dry_run,omitempty"`
	Interfaces []ReloadedInterface `json:"interfaces"`
	// changes in [daemon], and the format of [log], take effect with the next start only
	NextStart bool     `json:"next_start,omitempty"`
	Warnings  []string `json:"warnings"`
}

// ReloadedInterface tells what a reload did to an interface.
type ReloadedInterface struct {
	Name    string       `json:"name"`
	Action  ReloadAction `json:"action"`
	Changes []Change     `json:"changes"`
	Error   string       `json:"error,omitempty"` // why the interface does not work
}

// ReloadAction is what a reload does to an interface.
type ReloadAction string

// What a reload does to an interface. One that starts anew keeps its tunnel, neighbours, routes and
// SAs.
const (
	ReloadKept    ReloadAction = "unchanged"
	ReloadAdded   ReloadAction = "added"
	ReloadRemoved ReloadAction = "removed"   // it said goodbye
	ReloadJoined  ReloadAction = "joined"    // it had left
	ReloadChanged ReloadAction = "changed"   // it goes on, with the new settings
	ReloadRenewed ReloadAction = "restarted" // it started anew, with the new settings
)

// Change is a setting that a reload changes.
type Change struct {
	Key  string `json:"key"`
	From string `json:"from,omitempty"`
	To   string `json:"to,omitempty"`
	// what the change costs the interface's traffic; absent: nothing
	Interrupts string `json:"interrupts,omitempty"`
}

// Reload makes the daemon read its configuration file and apply it, or with dryRun only tell what
// that would change. If the file is faulty, the error is a *[Refusal], and nothing has changed.
func (c *Client) Reload(ctx context.Context, dryRun bool) (*Reloaded, error) {
	body, err := json.Marshal(ReloadRequest{DryRun: dryRun})
	if err != nil {
		return nil, err
	}
	answer, err := c.do(ctx, http.MethodPost, "/v1/reload", body)
	if err != nil {
		return nil, err
	}
	var r Reloaded
	if err := json.Unmarshal(answer, &r); err != nil {
		return nil, fmt.Errorf("decode the answer of the daemon: %w", err)
	}
	return &r, nil
}

// reload serves a ReloadRequest.
func (s *server) reload(w http.ResponseWriter, r *http.Request) {
	var request ReloadRequest
	if err := decode(r, &request); err != nil {
		s.fail(w, http.StatusBadRequest, err)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), leaveTimeout)
	defer cancel()
	report, err := s.daemon.Reload(ctx, request.DryRun)
	if err != nil {
		s.done(w, err)
		return
	}
	present(&report.Interfaces)
	for i := range report.Interfaces {
		present(&report.Interfaces[i].Changes)
	}
	present(&report.Warnings)
	s.answer(w, http.StatusOK, report)
}
