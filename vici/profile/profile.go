package profile

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"time"

	govici "github.com/strongswan/govici/vici"

	"cygnet/vici/message"
)

// What charon offers and accepts unless a profile says otherwise, best first. Both key lengths are
// there, so that only the order decides, and a second group for peers without X25519. ML-KEM is for
// charons that have it: strongSwan from 6.0 on, if built with it ([Profile.Offered]). Everything
// else is in Debian's libstrongswan-standard-plugins (plugins openssl and gcm); ESP's AES-GCM is
// the kernel's.
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

// Defaults of a profile's times. A dead peer is given up after 21 s of silence if charon has
// retransmit_tries = 4, retransmit_timeout = 1.0 and retransmit_base = 1.4, and after 175 s with
// charon's defaults.
const (
	DefaultDPDDelay       = 10 * time.Second
	DefaultRekeyTime      = 4 * time.Hour
	DefaultChildRekeyTime = time.Hour
)

// DefaultMaxSAs is how many SAs one identity may have unless the profile says otherwise. A router
// has one, and a few more while both ends dial or after it lost its state or its address. Where
// several routers share an identity, it has as many as they are.
const DefaultMaxSAs = 32

// Profile holds the IPsec settings of one interface.
type Profile struct {
	Interface string

	// LocalAddrs are the NBMA addresses of this end; empty: any. When one changes, the caller sets
	// the profile again.
	LocalAddrs []netip.Addr

	// Hub is true where many dial in. A new IKE_SA then does not end others of the same identity,
	// unless its initiator asks for that.
	Hub bool

	// KeyPort restricts the SAs to one GRE key; see Keyed. Beside are the other interfaces from the
	// same addresses that have SAs for their keys alone. Both are for profiles without a Site.
	KeyPort uint16
	Beside  []Keyed

	// Site is a connection of the site's own, which replaces every field below except Marks and
	// MaxSAs; nil: there is none.
	Site *Site

	// IKE identity of this end; empty: its address, or with certificates the subject
	Identity string

	PSK Secret // empty: certificates, which swanctl loads with their keys

	// Certs and CACerts are files: names below /etc/swanctl/x509 and /etc/swanctl/x509ca, or
	// absolute paths. They are read whenever the profile is loaded, so that a new one is used
	// within a minute.
	Certs   []string // this end's; empty: charon finds one by Identity
	CACerts []string // CAs that must have issued the peer's; empty: all that charon has

	// RemoteIdentity is a pattern that a peer's identity must match, such as "*.example.net";
	// empty: any that authenticates. It also keeps the PSK from connections that are not ours.
	RemoteIdentity string

	Proposals      []string      // IKE; empty: DefaultProposals
	ESPProposals   []string      // empty: DefaultESPProposals
	DPDDelay       time.Duration // whole seconds; 0: DefaultDPDDelay
	RekeyTime      time.Duration // of the IKE_SA; 0: DefaultRekeyTime
	ReauthTime     time.Duration // 0: never, since it interrupts traffic
	ChildRekeyTime time.Duration // 0: DefaultChildRekeyTime

	// Marks is true if the caller can direct packets into an SA by its mark. Routers behind one NAT
	// address then get SAs with marks of their own. Otherwise packets to that address go into the
	// newest of their SAs.
	Marks bool

	// MaxSAs is how many SAs one identity may have; 0: DefaultMaxSAs. The oldest SAs beyond it are
	// closed.
	MaxSAs int

	// Connection and Child are further keys of swanctl.conf's connection and child sections.
	// They override what this package sets. Values are those of [message.New]; sections are merged.
	Connection map[string]any
	Child      map[string]any
}

// SAsPerIdentity returns how many SAs one identity may have.
func (p Profile) SAsPerIdentity() int {
	if p.MaxSAs > 0 {
		return p.MaxSAs
	}
	return DefaultMaxSAs
}

// DeadPeerDelay returns how long a peer is silent before charon asks whether it is alive.
func (p Profile) DeadPeerDelay() time.Duration {
	if p.DPDDelay > 0 {
		return p.DPDDelay
	}
	return DefaultDPDDelay
}

// Validate returns what is wrong with a profile, as far as that shows without charon.
func (p Profile) Validate() error {
	var errs []error
	if p.Interface == "" {
		errs = append(errs, errors.New("a profile needs an interface"))
	}
	if len(p.PSK) > 0 && len(p.Certs) > 0 {
		errs = append(errs,
			fmt.Errorf("profile of %s: it has both a PSK and certificates: choose one",
				p.Interface))
	}
	for _, a := range p.LocalAddrs {
		if !a.IsValid() || a.IsUnspecified() || a.IsMulticast() {
			errs = append(errs, fmt.Errorf("profile of %s: %v is no address to send from",
				p.Interface, a))
		}
	}
	if _, err := p.NewConnection(netip.Addr{}, false); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// Clone returns a copy with lists of its own, and with IPv4 addresses as such. The copy shares
// nested override maps, which nobody changes.
func (p Profile) Clone() Profile {
	p.LocalAddrs = slices.Clone(p.LocalAddrs)
	for i, a := range p.LocalAddrs {
		p.LocalAddrs[i] = a.Unmap()
	}
	p.PSK = slices.Clone(p.PSK)
	p.Certs, p.CACerts = slices.Clone(p.Certs), slices.Clone(p.CACerts)
	p.Proposals, p.ESPProposals = slices.Clone(p.Proposals), slices.Clone(p.ESPProposals)
	p.Connection, p.Child = maps.Clone(p.Connection), maps.Clone(p.Child)
	p.Beside = slices.Clone(p.Beside)
	return p
}

// mode returns the IPsec mode that a child must have: TRANSPORT unless Child overrides it.
func (p Profile) mode() string {
	if mode, ok := p.Child["mode"].(string); ok && mode == "tunnel" {
		return "TUNNEL"
	}
	return "TRANSPORT"
}

// NewConnection builds the argument of load-conn. For the zero address that is the template, by
// which any peer may dial in; for another address it is the connection by which this end dials that
// peer. With shared it is the connection by which several routers behind that address dial in; each
// of its SAs has a mark.
func (p Profile) NewConnection(peer netip.Addr, shared bool) (*govici.Message, error) {
	children, name := p.children(), ConnectionName(p.Interface, peer)
	if shared {
		name = SharedName(p.Interface, peer)
		for _, child := range children {
			merge(child.(map[string]any), p.marks())
		}
	}
	conn, err := p.ikeKeys(peer)
	if err != nil {
		return nil, fmt.Errorf("profile of %s: %w", p.Interface, err)
	}
	if locals := p.localsFor(peer); len(locals) > 0 {
		conn["local_addrs"] = addresses(locals)
	}
	p.setApart(conn)
	conn["children"] = children
	merge(conn, p.Connection)

	m, err := message.New(map[string]any{name: conn})
	if err != nil {
		return nil, fmt.Errorf("profile of %s: %w", p.Interface, err)
	}
	return m, nil
}

// localsFor returns the addresses of this end to dial a peer from: those of the peer's IP version,
// or all for the zero address.
func (p Profile) localsFor(peer netip.Addr) []netip.Addr {
	if !peer.IsValid() {
		return p.LocalAddrs
	}
	return slices.DeleteFunc(slices.Clone(p.LocalAddrs),
		func(a netip.Addr) bool { return a.Is4() != peer.Is4() })
}

// child returns the keys of the child section for a GRE key; 0: for all GRE.
func (p Profile) child(keyPort uint16) map[string]any {
	if p.Site != nil {
		return p.Site.child()
	}
	gre := map[string]any{
		"mode":          "transport",
		"local_ts":      greSelector(keyPort),
		"remote_ts":     greSelector(keyPort),
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

// ikeKeys returns the keys of the connection section besides its local addresses and its children.
func (p Profile) ikeKeys(peer netip.Addr) (map[string]any, error) {
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
		// the tunnel's source is fixed; an SA that moved away would protect nothing
		"mobike":      "no",
		"unique":      p.unique(),
		"dpd_delay":   seconds(cmp.Or(p.DPDDelay, DefaultDPDDelay)),
		"rekey_time":  seconds(cmp.Or(p.RekeyTime, DefaultRekeyTime)),
		"reauth_time": seconds(p.ReauthTime),
		"keyingtries": "1",     // the client retries
		"childless":   "never", // an IKE_SA without a child is of no use
		"local":       local,
		"remote":      remote,
	}, nil
}

// unique returns charon's policy for other IKE_SAs with the same identity. Every policy but "never"
// sends an initial contact notification; between spokes that can leave one end with an SA that the
// other has closed.
func (p Profile) unique() string {
	if p.Hub {
		return "no"
	}
	return "never"
}

// NewSharedKey builds the argument of load-shared. It has no id: anybody's swanctl --load-creds
// unloads keys that have one.
//
// The owners of a key are the identities that it is for. A responder looks for the key before it
// knows which of its own identities the peer means, so the peer's must be among the owners. Without
// a RemoteIdentity that is any identity, and charon also tries the key on connections of the
// administrator's that take any peer by PSK.
func (p Profile) NewSharedKey() (*govici.Message, error) {
	owners := []string{cmp.Or(p.RemoteIdentity, "%any")}
	if p.Identity != "" {
		owners = append(owners, p.Identity)
	}
	return message.New(map[string]any{"type": "IKE", "data": string(p.PSK), "owners": owners})
}

// merge sets override's keys in base. Sections that are in both are merged.
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

// orDefault returns a list, or the fallback where it is empty.
func orDefault(list, fallback []string) []string {
	if len(list) > 0 {
		return list
	}
	return fallback
}

// seconds returns a time as swanctl.conf has it, cut to whole seconds.
func seconds(d time.Duration) string { return strconv.FormatInt(int64(d/time.Second), 10) + "s" }

func addresses(addrs []netip.Addr) []string {
	list := make([]string, len(addrs))
	for i, a := range addrs {
		list[i] = a.String()
	}
	return list
}
