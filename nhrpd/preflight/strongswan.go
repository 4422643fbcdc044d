package preflight

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"strconv"
	"strings"
	"time"

	"cygnet/nhrpd/config"
	"cygnet/vici/swanctl"
)

// charon has charon's settings, which charon reads from strongswan.conf.
type charon struct{ file *swanctl.File }

// setting returns the value of one of charon's settings, and where the file sets it. A setting of
// charon-systemd takes precedence.
func (c charon) setting(path ...string) (value, at string, ok bool) {
	for _, program := range []string{"charon-systemd", "charon"} {
		if value, pos, ok := c.file.Setting(append([]string{program}, path...)...); ok {
			return value, " (" + pos.String() + ")", true
		}
	}
	return "", "", false
}

// number returns a setting that is a number, or def, strongSwan's default, if the file has none.
func (c charon) number(name string, def float64) float64 {
	value, _, ok := c.setting(name)
	if n, err := strconv.ParseFloat(value, 64); ok && err == nil {
		return n
	}
	return def
}

// says returns a truth value as strongSwan reads it, or def if the text is none.
func says(value string, def bool) bool {
	switch strings.ToLower(value) {
	case "1", "yes", "true", "enabled":
		return true
	case "0", "no", "false", "disabled":
		return false
	}
	return def
}

// Strongswan checks charon's settings in the files that charon reads at its start. It returns no
// findings if no interface uses IPsec.
func (h Host) Strongswan(c *config.Config) []Finding {
	var all []Finding
	add := func(s Severity, format string, args ...any) {
		all = append(all, Finding{
			About:    AboutStrongswan,
			Severity: s,
			Text:     fmt.Sprintf(format, args...),
		})
	}
	protected := false
	for _, i := range c.Interfaces {
		protected = protected || i.Protected
	}
	if !protected {
		return nil
	}
	if _, err := os.Stat(h.StrongswanConf); errors.Is(err, fs.ErrNotExist) {
		add(Error, "there is no %s: install strongSwan's charon and swanctl (Debian: charon-systemd, strongswan-swanctl)",
			h.StrongswanConf)
		return all
	}
	file, err := swanctl.Load(h.StrongswanConf)
	if err != nil {
		add(Warning, "charon's settings cannot be read: %v", err)
		return all
	}
	ike := charon{file}
	ike.plugin(add)
	ike.socket(add, c.Daemon.VICISocket)
	ike.deadPeers(add, c)
	h.rivals(add, c)
	if hub(c) {
		ike.forHubs(add)
	}
	return all
}

// adder adds a finding.
type adder func(s Severity, format string, args ...any)

// plugin checks that charon loads its vici plugin.
func (c charon) plugin(add adder) {
	modular, _, _ := c.setting("load_modular")
	list, at, named := c.setting("load")
	switch value, where, ok := c.setting("plugins", "vici", "load"); {
	case says(modular, false) && ok && !says(value, value != ""):
		add(Error, "the vici plugin is off%s, and nothing can be secured without it: set load = yes there",
			where)
	case !says(modular, false) && named && !hasWord(list, "vici"):
		add(Error, "charon loads no vici plugin%s, and nothing can be secured without it: add vici to the list",
			at)
	}
}

// hasWord reports whether a list of plugins has one. A plugin that charon cannot do without has an
// exclamation mark there.
func hasWord(list, word string) bool {
	for _, w := range strings.Fields(list) {
		if strings.TrimSuffix(w, "!") == word {
			return true
		}
	}
	return false
}

// socket checks that charon listens where the daemon looks for it.
func (c charon) socket(add adder, looked string) {
	value, at, ok := c.setting("plugins", "vici", "socket")
	if !ok || strings.Contains(value, "${") {
		return
	}
	listens, unix := strings.CutPrefix(value, "unix://")
	switch {
	case !unix:
		add(Error, "charon listens for VICI at %q%s, which the daemon does not speak: use unix:///var/run/charon.vici",
			value, at)
	case run(listens) != run(looked):
		add(Error, "charon listens for VICI at %s%s, and the daemon looks at %s: set vici_socket = %q in [daemon]",
			listens, at, looked, listens)
	}
}

// run returns a path with /run in place of /var/run, which is a link to /run on every current
// system.
func run(path string) string {
	if rest, ok := strings.CutPrefix(path, "/var/run/"); ok {
		return "/run/" + rest
	}
	return path
}

// slow is the time after which it is too late to notice that a peer has died. With the settings
// that Cygnet recommends it takes half a minute.
const slow = 45 * time.Second

// deadPeers checks how long it takes charon to notice that a peer has died. That is the silence
// after which charon asks the peer, and the time of all retransmissions of the question.
func (c charon) deadPeers(add adder, cfg *config.Config) {
	tries, timeout, base := c.number("retransmit_tries", 5),
		c.number("retransmit_timeout", 4),
		c.number("retransmit_base", 1.8)
	sum := 0.0
	for i := range int(min(tries, 50)) + 1 {
		sum += timeout * math.Pow(base, float64(i))
	}
	if limit := c.number("retransmit_limit", 0); limit > 0 {
		sum = min(sum, limit*(tries+1))
	}
	for _, i := range cfg.Interfaces {
		if !i.Protected || i.IPsec == nil {
			continue
		}
		dead := time.Duration(sum)*time.Second + i.IPsec.DPDDelay
		if dead > slow {
			add(Advice, "a peer of %s that died is noticed after %s, with traffic to it lost until then: set retransmit_tries = 4, retransmit_timeout = 1.0 and retransmit_base = 1.4 in charon { … }, as /etc/strongswan.d/cygnet.conf",
				i.Name, dead)
		}
	}
}

// scale has the settings that a charon needs which many peers dial.
var scale = []struct {
	name       string
	def, least float64 // strongSwan's default, and the least value for many peers
	offAtZero  bool    // 0 turns the limit off
}{
	{"threads", 16, 32, false},
	{"ikesa_table_size", 1, 4096, false},
	{"ikesa_table_segments", 1, 16, false},
	{"block_threshold", 5, 50, true},
	{"cookie_threshold", 10, 500, true},
}

// forHubs checks whether charon is set up for only few peers.
func (c charon) forHubs(add adder) {
	var small []string
	for _, s := range scale {
		if n := c.number(s.name, s.def); n < s.least && !(s.offAtZero && n == 0) {
			small = append(small, fmt.Sprintf("%s = %g (it is %g)", s.name, s.least, n))
		}
	}
	if len(small) > 0 {
		add(Advice, "charon is set up for few peers, and many that come back at once are refused or wait: set %s in charon { … }, as /etc/strongswan.d/cygnet.conf",
			strings.Join(small, ", "))
	}
	if value, at, ok := c.setting("install_routes"); !ok || says(value, true) {
		add(Advice, "charon installs routes of its own%s beside the daemon's: set install_routes = no in charon { … }, as /etc/strongswan.d/cygnet.conf",
			at)
	}
}
