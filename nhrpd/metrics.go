package nhrpd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"cygnet/nhrpd/api"
	"cygnet/nhrpd/config"
	"cygnet/nhrpd/engine"
	"cygnet/nhrpd/histogram"
	"cygnet/nhrpd/logging"
	"cygnet/nhrpd/problem"
	"cygnet/nhrpd/wait"
)

// durations is how long work of some kinds took.
type durations struct {
	resolved, secured, setUp, shortcut histogram.Histogram // of shortcuts that came up
	sa, turn, kernel, compared         histogram.Histogram
}

// newDurations returns durations of no work yet.
func newDurations() *durations {
	return &durations{turn: histogram.Short(), kernel: histogram.Short()}
}

// add counts what a notice says of a shortcut that came up.
func (d *durations) add(n *engine.Notice) {
	if n.Kind == engine.NoticeShortcutUp {
		d.resolved.Add(n.Resolved)
		d.secured.Add(n.Secured)
		d.setUp.Add(n.Took - n.Resolved)
		d.shortcut.Add(n.Took)
	}
}

// status returns the durations as the API has them.
func (d *durations) status() api.Durations {
	return api.Durations{
		Resolved: d.resolved.Read(), Secured: d.secured.Read(), SetUp: d.setUp.Read(),
		Shortcut: d.shortcut.Read(), SA: d.sa.Read(), Turn: d.turn.Read(),
		Kernel: d.kernel.Read(), Compared: d.compared.Read(),
	}
}

// metrics returns the task that serves the metrics at a place of their own. Where that cannot be
// opened, it reports a problem and tries again: the address may come later than the daemon.
func (d *Daemon) metrics(c config.Daemon) func(context.Context) error {
	log := d.logs.Of(logging.API)
	key := problem.Key{Code: api.ProblemMetrics, Subject: c.Metrics}
	return func(ctx context.Context) error {
		if c.Metrics == "" {
			return nil
		}
		for failed := wait.Backoff(); ; {
			l, err := d.listenMetrics(ctx, c)
			if err == nil {
				d.problems.Resolve(key)
				log.Info("the metrics are served", "at", l.Addr())
				failed.Reset()
				err = api.ServeMetrics(ctx, l, d, c.MetricsPeers, log)
			}
			if ctx.Err() != nil {
				return nil
			}
			log.Warn("the metrics are not served", "error", err)
			d.problems.Report(api.Problem{
				Code:     key.Code,
				Severity: api.SeverityWarning,
				Subject:  key.Subject,
				Text:     fmt.Sprintf("the metrics are not served: %v", err),
				Remedy: "end what else listens there, or correct metrics in [daemon], " +
					"then systemctl restart cygnetd",
			})
			if !wait.For(ctx, failed.NextBackOff()) {
				return nil
			}
		}
	}
}

// listenMetrics opens the place where the metrics are served. A unix socket belongs to those who
// may look, so that who reads the metrics need not be in the group that may act. Without
// api_view_group it belongs to api_group. If its group does not exist, root alone may use it.
func (d *Daemon) listenMetrics(ctx context.Context, c config.Daemon) (net.Listener, error) {
	if !strings.HasPrefix(c.Metrics, "/") {
		return new(net.ListenConfig).Listen(ctx, "tcp", c.Metrics)
	}
	l, err := d.platform.ListenAPI(c.Metrics, cmp.Or(c.APIViewGroup, c.APIGroup))
	if errors.Is(err, api.ErrNoGroup) {
		return d.platform.ListenAPI(c.Metrics, "")
	}
	return l, err
}
