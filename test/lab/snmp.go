package lab

import (
	"strings"
)

// snmpConf is the beginning of the configuration of snmpd: this router may see the view cygnet.
const snmpConf = `agentaddress udp:127.0.0.1:161
rocommunity lab 127.0.0.1 -V cygnet
`

// SNMPD starts Debian's snmpd on the router as a user of its own, as its unit does, with a group
// and with an example configuration that runs cygnet.
func (r *Router) SNMPD(group, example string) *Process {
	r.net.Helper()
	r.WriteFile("/run/snmpd.conf", 0o644, snmpConf+
		strings.ReplaceAll(example, "/usr/bin/cygnet", r.net.binary("cygnet")))
	r.Run("install", "-d", "-o", "Debian-snmp", "/var/lib/snmp")
	return r.Start("snmpd", nil, "snmpd", "-f", "-Lo", "-C", "-c", "/run/snmpd.conf",
		"-u", "Debian-snmp", "-g", group, "-I", "-smux,mteTrigger,mteTriggerConf")
}

// SNMPWalk returns what the router's snmpd has below an object, by identifier. No MIB is loaded, so
// values are as snmpwalk shows them without knowing their meaning.
func (r *Router) SNMPWalk(oid string) (map[string]string, error) {
	r.net.Helper()
	out, err := r.Try("snmpbulkwalk", "-v2c", "-c", "lab", "-On", "-m", "", "-t", "10", "127.0.0.1",
		oid)
	if err != nil {
		return nil, err
	}
	objects := map[string]string{}
	for line := range strings.Lines(out) {
		if id, value, found := strings.Cut(line, " = "); found &&
			!strings.HasPrefix(value, "No ") {
			objects[id] = strings.TrimSpace(value)
		}
	}
	return objects, nil
}
