package nhrpd

import (
	"bytes"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"cygnet/nhrpd/api"
	"cygnet/nhrpd/preflight"
)

// The status shows what is wrong with certificates, at the latest a minute after it began, and no
// longer once it is gone.
func TestCertificatesAreWatched(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world, d *Daemon) {
		shown := func() bool {
			synctest.Wait()
			s, err := d.Status(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return slices.Contains(s.Advice, "certificates: gre1: it expires") &&
				slices.ContainsFunc(s.Problems, func(p api.Problem) bool {
					return p.Code == api.ProblemCertificate &&
						p.Severity == api.SeverityError &&
						p.Interface == "gre1" &&
						p.Text == "it expired"
				})
		}
		if shown() {
			t.Error("told before it was so")
		}
		for _, wrong := range [][]preflight.Finding{{
			{
				About:     "certificates",
				Severity:  preflight.Advice,
				Interface: "gre1",
				Text:      "it expires",
			},
			{
				About:     "certificates",
				Severity:  preflight.Error,
				Interface: "gre1",
				Text:      "it expired",
			},
		}, nil} {
			w.mu.Lock()
			w.certificates = wrong
			w.mu.Unlock()
			time.Sleep(certificateInterval) // in the bubble's time
			if got := shown(); got != (wrong != nil) {
				t.Errorf("with %v the status shows it: %v", wrong, got)
			}
		}
	})
}

// At the start the log says what is wrong with charon's settings. Nothing else would tell the user
// why charon notices a dead peer so late.
func TestCharonSettingsAreToldAtStart(t *testing.T) {
	w, dir, out := newWorld(t), t.TempDir(), new(bytes.Buffer)
	w.settings = []preflight.Finding{{
		About: "strongSwan",
		Text:  "a peer of gre1 that died is noticed after 2m55s",
	}}
	d := New(
		filepath.Join(dir, "cygnet.toml"),
		testConfig(t, []byte(spokeToml), dir),
		w.platform(),
		out,
	)
	d.checks.advise(d.config)
	if !strings.Contains(out.String(),
		`level=WARN msg="strongSwan: a peer of gre1 that died is noticed after 2m55s"`) {
		t.Errorf("the log says:\n%s", out)
	}
}
