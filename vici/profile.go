package vici

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	govici "github.com/strongswan/govici/vici"
)

// Prefix begins the name of every connection that this package loads.
const Prefix = "cygnet-"

// child is the name of the CHILD_SA in every connection that this package loads.
const child = "gre"

// What charon offers and accepts unless a profile says otherwise, best first. Both key lengths are there, so that the order alone
// decides, and a second group for peers without X25519. ML-KEM is for those whose strongSwan has it, from 6.0 on if it is built
// with it: a charon without gets the others. All of the others is in Debian's libstrongswan-standard-plugins (plugins openssl and gcm); ESP's
// AES-GCM is the kernel's.
var (
	DefaultProposals = []string{
		"aes256gcm16-prfsha384-x25519-ke1_mlkem768",
		"aes256gcm16-prfsha384-x25519-ecp384",
		"aes128gcm16-prfsha256-x25519-ecp256",
	}
	DefaultESPProposals = []string{
		"aes256gcm16-x25519-ke1_mlkem768",
		"aes256gcm16-x25519-ecp384",
		"aes128gcm16-x25519-ecp256",
	}
)

// Defaults of a profile's times. With charon's retransmit_tries = 4, retransmit_timeout = 1.0 and retransmit_base = 1.4 a dead peer is
// given up after 21 s of silence, with charon's defaults after 175 s.
const (
	DefaultDPDDelay       = 10 * time.Second
	DefaultRekeyTime      = 4 * time.Hour
	DefaultChildRekeyTime = time.Hour
)

// Profile holds the IPsec settings of one interface.
type Profile struct {
	Interface  string
	LocalAddrs []netip.Addr // NBMA addresses of this end; empty: any. When one changes, set the profile again
	Hub        bool         // many dial in: a new IKE_SA does not end others of the same identity, unless its initiator says so

	// Site, unless nil, is a connection of the site's own in the place of all that follows but Marks.
	Site *Site

	Identity string // IKE identity of this end; empty: its address, or with certificates the subject

	PSK Secret // empty: certificates, which swanctl loads with their keys
	// Certificates are files. They are read whenever the profile is loaded: a new one is taken within a minute.
	Certs   []string // this end's: file names below /etc/swanctl/x509, or absolute; empty: charon finds one by Identity
	CACerts []string // CAs that the peer's must come from: below /etc/swanctl/x509ca, or absolute; empty: all that are loaded

	// RemoteIdentity is a pattern that a peer's identity must match, such as "*.example.net"; empty: any that authenticates.
	// It also keeps the PSK from connections that are not ours.
	RemoteIdentity string

	Proposals      []string      // IKE; empty: DefaultProposals
	ESPProposals   []string      // empty: DefaultESPProposals
	DPDDelay       time.Duration // whole seconds; 0: DefaultDPDDelay
	RekeyTime      time.Duration // of the IKE_SA; 0: DefaultRekeyTime
	ReauthTime     time.Duration // 0: never, since it interrupts traffic
	ChildRekeyTime time.Duration // 0: DefaultChildRekeyTime

	// Marks says that the caller can direct packets into an SA by its mark. Routers behind one NAT address then get SAs with marks of
	// their own; else what is sent to the address goes into the newest of their SAs.
	Marks bool

	// MaxSAs is how many SAs one identity may have; 0: DefaultMaxSAs. Of more, the oldest are closed.
	MaxSAs int

	// Connection and Child are further keys of swanctl.conf's connection and child sections. They override what this package sets.
	// Values are string, bool, int, int64, []string, []any of strings, and nested maps, which are merged.
	Connection map[string]any
	Child      map[string]any
}

// Validate says what is wrong with a profile, as far as it can be said without charon.
func (p Profile) Validate() error {
	var errs []error
	if p.Interface == "" {
		errs = append(errs, errors.New("a profile needs an interface"))
	}
	if len(p.PSK) > 0 && len(p.Certs) > 0 {
		errs = append(errs, fmt.Errorf("profile of %s: it has both a PSK and certificates: choose one", p.Interface))
	}
	for _, a := range p.LocalAddrs {
		if !a.IsValid() || a.IsUnspecified() || a.IsMulticast() {
			errs = append(errs, fmt.Errorf("profile of %s: %v is no address to send from", p.Interface, a))
		}
	}
	if _, err := p.connection(netip.Addr{}, false); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// clone makes the profile independent of its caller's slices. Nested override maps are only ever read.
func (p Profile) clone() Profile {
	p.LocalAddrs = slices.Clone(p.LocalAddrs)
	for i, a := range p.LocalAddrs {
		p.LocalAddrs[i] = a.Unmap()
	}
	p.PSK = slices.Clone(p.PSK)
	p.Certs, p.CACerts = slices.Clone(p.Certs), slices.Clone(p.CACerts)
	p.Proposals, p.ESPProposals = slices.Clone(p.Proposals), slices.Clone(p.ESPProposals)
	p.Connection, p.Child = maps.Clone(p.Connection), maps.Clone(p.Child)
	return p
}

// mode is the IPsec mode that a child must have: TRANSPORT unless the site overrides it.
func (p Profile) mode() string {
	if mode, ok := p.Child["mode"].(string); ok && mode == "tunnel" {
		return "TUNNEL"
	}
	return "TRANSPORT"
}

// connection builds the argument of load-conn: the template for the zero address, else the connection to that peer; for an address that
// several routers share, the connection that they dial in by, whose SAs have marks.
func (p Profile) connection(peer netip.Addr, shared bool) (*govici.Message, error) {
	gre, name := p.child(), connName(p.Interface, peer)
	if shared {
		name = sharedName(p.Interface, peer)
		merge(gre, p.marks())
	}
	conn, err := p.ike(peer)
	if err != nil {
		return nil, fmt.Errorf("profile of %s: %w", p.Interface, err)
	}
	if len(p.LocalAddrs) > 0 {
		conn["local_addrs"] = addresses(p.LocalAddrs)
	}
	conn["children"] = map[string]any{child: gre}
	merge(conn, p.Connection)

	m, err := message(map[string]any{name: conn})
	if err != nil {
		return nil, fmt.Errorf("profile of %s: %w", p.Interface, err)
	}
	return m, nil
}

// child gives the keys of the child.
func (p Profile) child() map[string]any {
	if p.Site != nil {
		return p.Site.child()
	}
	gre := map[string]any{
		"mode":          "transport",
		"local_ts":      []string{"dynamic[gre]"},
		"remote_ts":     []string{"dynamic[gre]"},
		"esp_proposals": orDefault(p.ESPProposals, DefaultESPProposals),
		"rekey_time":    seconds(cmp.Or(p.ChildRekeyTime, DefaultChildRekeyTime)),
		"start_action":  "none",
		"close_action":  "none",
		"dpd_action":    "clear",
		"priority":      saPriority,
	}
	merge(gre, p.Child)
	return gre
}

// ike gives the keys of a connection besides its local addresses and its child.
func (p Profile) ike(peer netip.Addr) (map[string]any, error) {
	if p.Site != nil {
		return p.Site.connection(p, peer), nil
	}
	certs, err := certificates("x509", p.Certs)
	if err != nil {
		return nil, err
	}
	cas, err := certificates("x509ca", p.CACerts)
	if err != nil {
		return nil, err
	}
	auth := "pubkey"
	if len(p.PSK) > 0 {
		auth = "psk"
	}
	local := map[string]any{"auth": auth}
	if p.Identity != "" {
		local["id"] = p.Identity
	}
	if len(certs) > 0 {
		local["certs"] = certs
	}
	remote := map[string]any{"auth": auth, "id": cmp.Or(p.RemoteIdentity, "%any")}
	if len(cas) > 0 {
		remote["cacerts"] = cas
	}

	remotes := []string{"%any"}
	if peer.IsValid() {
		remotes = []string{peer.String()}
	}
	return map[string]any{
		"version":      "2",
		"remote_addrs": remotes,
		"proposals":    orDefault(p.Proposals, DefaultProposals),
		"mobike":       "no", // the tunnel's source is fixed; an SA that moved away would protect nothing
		"unique":       p.unique(),
		"dpd_delay":    seconds(cmp.Or(p.DPDDelay, DefaultDPDDelay)),
		"rekey_time":   seconds(cmp.Or(p.RekeyTime, DefaultRekeyTime)),
		"reauth_time":  seconds(p.ReauthTime),
		"keyingtries":  "1",     // the client retries
		"childless":    "never", // an IKE_SA that is not for a child is for nothing
		"local":        local,
		"remote":       remote,
	}, nil
}

// unique is what becomes of other IKE_SAs with the same identity. Between spokes the initial contact that any policy but never sends can
// leave one end with an SA that the other has closed.
func (p Profile) unique() string {
	if p.Hub {
		return "no"
	}
	return "never"
}

// sharedKey builds the argument of load-shared. It has no id: keys with one are unloaded by anybody's swanctl --load-creds.
//
// Its owners are the identities it is for. A responder looks for the key before it knows which identity of its own the peer
// means, so the peer's must match: without a RemoteIdentity that is any, and the key is then also tried on connections of the
// administrator's that take any peer by PSK.
func (p Profile) sharedKey() (*govici.Message, error) {
	owners := []string{cmp.Or(p.RemoteIdentity, "%any")}
	if p.Identity != "" {
		owners = append(owners, p.Identity)
	}
	return message(map[string]any{"type": "IKE", "data": string(p.PSK), "owners": owners})
}

// merge puts override's keys over base's; sections in both are merged.
func merge(base, override map[string]any) {
	for key, value := range override {
		below, isMap := base[key].(map[string]any)
		above, isMapToo := value.(map[string]any)
		if isMap && isMapToo {
			merge(below, above)
			continue
		}
		base[key] = value
	}
}

// message turns nested maps into a VICI message with its keys in order.
func message(section map[string]any) (*govici.Message, error) {
	m := govici.NewMessage()
	for _, key := range slices.Sorted(maps.Keys(section)) {
		value, err := element(section[key])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
		if err := m.Set(key, value); err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
	}
	return m, nil
}

func element(value any) (any, error) {
	switch v := value.(type) {
	case string, []string:
		return v, nil
	case bool:
		if v {
			return "yes", nil
		}
		return "no", nil
	case int:
		return strconv.Itoa(v), nil
	case int64:
		return strconv.FormatInt(v, 10), nil
	case map[string]any:
		return message(v)
	case []any:
		list := make([]string, len(v))
		for i, item := range v {
			s, ok := item.(string)
			if !ok {
				return nil, fmt.Errorf("item %d is %T: lists hold strings", i+1, item)
			}
			list[i] = s
		}
		return list, nil
	}
	return nil, fmt.Errorf("%T is no value of swanctl.conf: use a string, a number, a truth value, a list of strings or a table", value)
}

func orDefault(list, fallback []string) []string {
	if len(list) > 0 {
		return list
	}
	return fallback
}

func seconds(d time.Duration) string { return strconv.FormatInt(int64(d/time.Second), 10) + "s" }

func addresses(addrs []netip.Addr) []string {
	list := make([]string, len(addrs))
	for i, a := range addrs {
		list[i] = a.String()
	}
	return list
}

// connName names the template of an interface (zero address) or the connection to a peer.
//
// An interface may be called like the rest of a peer's connection: the name for the template of
// dmvpn-192.0.2.1 would be that for the peer 192.0.2.1 of dmvpn. Such a template has anyPeer behind its
// name.
func connName(iface string, peer netip.Addr) string {
	switch {
	case peer.IsValid():
		return Prefix + iface + "-" + peer.String()
	case takenForAnother(iface):
		return Prefix + iface + anyPeer
	}
	return Prefix + iface
}

// anyPeer ends the name of a template that would otherwise be taken for a connection to a peer.
const anyPeer = "-any"

// takenForAnother reports whether the name of an interface would not be read back as it is.
func takenForAnother(iface string) bool {
	read, peer, _ := parseName(Prefix + iface)
	return peer.IsValid() || read != iface
}

// sharedSuffix ends the name of the connection that routers behind one address dial in by.
const sharedSuffix = "-nat"

func sharedName(iface string, address netip.Addr) string {
	return connName(iface, address) + sharedSuffix
}

// recallName names the connection by which one of the routers behind an address is dialled, through its port at the NAT.
func recallName(iface string, address netip.Addr, port uint16) string {
	return sharedName(iface, address) + "-" + strconv.Itoa(int(port))
}

// marking says whether a connection of this name is ours and gives marks to its SAs.
func marking(name string) bool {
	iface, address, ours := parseName(name)
	return ours && address.IsValid() && strings.HasPrefix(name, sharedName(iface, address))
}

// withoutMarking cuts what sharedName and recallName put behind the name of a connection to an address.
func withoutMarking(name string) (string, bool) {
	if i := strings.LastIndex(name, sharedSuffix+"-"); i >= 0 {
		if _, err := strconv.ParseUint(name[i+len(sharedSuffix)+1:], 10, 16); err == nil {
			return name[:i], true
		}
	}
	return strings.CutSuffix(name, sharedSuffix)
}

// parseName undoes connName, sharedName and recallName. Names that are not ours are not ok.
func parseName(name string) (iface string, peer netip.Addr, ok bool) {
	if outer, found := strings.CutSuffix(name, anyPeer); found && len(outer) > len(Prefix) && strings.HasPrefix(outer, Prefix) {
		if inner := outer[len(Prefix):]; takenForAnother(inner) {
			return inner, netip.Addr{}, true
		}
	}
	if outer, found := withoutMarking(name); found {
		if iface, peer, ok = parseName(outer); ok && peer.IsValid() {
			return iface, peer, true
		}
	}
	if len(name) <= len(Prefix) || name[:len(Prefix)] != Prefix {
		return "", netip.Addr{}, false
	}
	iface = name[len(Prefix):]
	for i := len(iface) - 1; i > 0; i-- {
		if iface[i] != '-' {
			continue
		}
		if a, err := netip.ParseAddr(iface[i+1:]); err == nil {
			return iface[:i], a, true
		}
		break
	}
	return iface, netip.Addr{}, true
}
