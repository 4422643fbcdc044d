package config

import (
	"time"

	"cygnet/nhrpd/config/document"
	"cygnet/nhrpd/config/secret"
)

// The raw types hold the file as it is written: one field for each key, with only its type checked.
// All keys of the file are defined here and nowhere else. A test makes sure that reference.toml has
// all of them. No message shows what a key with the option secret has: it is a secret, or the name
// of a file where somebody may have written the secret itself.

type rawFile struct {
	Daemon    rawDaemon               `toml:"daemon"`
	Log       rawLog                  `toml:"log"`
	Interface map[string]rawInterface `toml:"interface"`
}

type rawDaemon struct {
	APISocket      document.Value[string] `toml:"api_socket"`
	APIGroup       document.Value[string] `toml:"api_group"`
	APIViewGroup   document.Value[string] `toml:"api_view_group"`
	VICISocket     document.Value[string] `toml:"vici_socket"`
	StateDir       document.Value[string] `toml:"state_dir"`
	Metrics        document.Value[string] `toml:"metrics"`
	MetricsPeers   document.Value[int64]  `toml:"metrics_peers"`
	MaxInitiations document.Value[int64]  `toml:"max_initiations"`
}

type rawLog struct {
	Level  document.Value[string] `toml:"level"`
	Format document.Value[string] `toml:"format"`
	Levels rawLevels              `toml:"levels"`
}

type rawLevels struct {
	API    document.Value[string] `toml:"api"`
	Config document.Value[string] `toml:"config"`
	Engine document.Value[string] `toml:"engine"`
	Kernel document.Value[string] `toml:"kernel"`
	VICI   document.Value[string] `toml:"vici"`
}

type rawInterface struct {
	At document.Place // the place of the table

	Address  document.Value[document.OneOrMore] `toml:"address"`
	Overlay  document.Value[document.OneOrMore] `toml:"overlay"`
	Underlay document.Value[document.OneOrMore] `toml:"underlay"`
	Key      document.Value[int64]              `toml:"key"`
	TTL      document.Value[int64]              `toml:"ttl"`
	VRF      document.Value[string]             `toml:"vrf"`
	Table    document.Value[int64]              `toml:"table"`
	Metric   document.Value[int64]              `toml:"metric"`

	UnderlayReserve document.Value[string]        `toml:"underlay_reserve"`
	UnderlayReturn  document.Value[time.Duration] `toml:"underlay_return"`
	UnderlayTable   document.Value[int64]         `toml:"underlay_table"`
	UnderlayVRF     document.Value[string]        `toml:"underlay_vrf"`
	UnderlayRule    document.Value[int64]         `toml:"underlay_rule"`

	MTU     document.Value[document.NumberOrWord] `toml:"mtu"`
	MSS     document.Value[document.NumberOrWord] `toml:"mss"`
	OuterDF document.Value[string]                `toml:"outer_df"`

	HostTable document.Value[int64] `toml:"host_table"`
	HostRule  document.Value[int64] `toml:"host_rule"`

	HoldingTime        document.Value[time.Duration] `toml:"holding_time"`
	IdleTime           document.Value[time.Duration] `toml:"idle_time"`
	Authentication     document.Value[secret.Secret] `toml:"authentication,secret"`
	AuthenticationFile document.Value[string]        `toml:"authentication_file,secret"`
	Unique             document.Value[bool]          `toml:"unique"`
	Redirect           document.Value[bool]          `toml:"redirect"`
	Shortcut           document.Value[bool]          `toml:"shortcut"`
	Server             document.Value[bool]          `toml:"server"`
	Admission          document.Value[bool]          `toml:"admission"`
	SourceCheck        document.Value[bool]          `toml:"source_check"`
	NHS                []rawNHS                      `toml:"nhs"`
	NHSCluster         []rawNHSCluster               `toml:"nhs_cluster"`
	FallbackDelay      document.Value[time.Duration] `toml:"fallback_delay"`
	Map                []rawMap                      `toml:"map"`
	Announce           document.Value[[]string]      `toml:"announce"`
	Accept             document.Value[[]string]      `toml:"accept"`
	Peer               []rawPeer                     `toml:"peer"`
	Authorize          document.Value[string]        `toml:"authorize"`
	AuthorizeTimeout   document.Value[time.Duration] `toml:"authorize_timeout"`
	AuthorizeDefault   document.Value[string]        `toml:"authorize_default"`
	Multicast          document.Value[[]string]      `toml:"multicast"`
	MulticastAllow     document.Value[[]string]      `toml:"multicast_allow"`
	MulticastDeny      document.Value[[]string]      `toml:"multicast_deny"`
	MulticastRelay     document.Value[bool]          `toml:"multicast_relay"`
	IfState            document.Value[bool]          `toml:"if_state"`
	ProvePaths         document.Value[string]        `toml:"prove_paths"`
	PathTimeout        document.Value[time.Duration] `toml:"path_timeout"`
	LargePackets       document.Value[string]        `toml:"large_packets"`
	Limits             rawLimits                     `toml:"limits"`

	Protection document.Value[string] `toml:"protection"`
	IPsec      *rawIPsec              `toml:"ipsec"`
}

type rawNHS struct {
	At document.Place

	NBMA     document.Value[string]             `toml:"nbma"`
	Protocol document.Value[document.OneOrMore] `toml:"protocol"`
	Priority document.Value[int64]              `toml:"priority"`
	Cluster  document.Value[int64]              `toml:"cluster"`
}

type rawNHSCluster struct {
	At document.Place

	Cluster        document.Value[int64] `toml:"cluster"`
	MaxConnections document.Value[int64] `toml:"max_connections"`
}

type rawMap struct {
	At document.Place

	Protocol document.Value[string] `toml:"protocol"`
	NBMA     document.Value[string] `toml:"nbma"`
}

type rawPeer struct {
	At document.Place

	Identity  document.Value[string]   `toml:"identity"`
	Addresses document.Value[[]string] `toml:"addresses"`
	Announce  document.Value[[]string] `toml:"announce"`
	Shortcut  document.Value[bool]     `toml:"shortcut"`
}

type rawLimits struct {
	Bindings    document.Value[int64] `toml:"bindings"`
	Prefixes    document.Value[int64] `toml:"prefixes"`
	Shortcuts   document.Value[int64] `toml:"shortcuts"`
	Answers     document.Value[int64] `toml:"answers"`
	Held        document.Value[int64] `toml:"held"`
	Indications document.Value[int64] `toml:"indications"`
	Errors      document.Value[int64] `toml:"errors"`
	Requests    document.Value[int64] `toml:"requests"`
	Transit     document.Value[int64] `toml:"transit"`
	SAs         document.Value[int64] `toml:"sas"`
	Links       document.Value[int64] `toml:"links"`

	MulticastPackets document.Value[int64] `toml:"multicast_packets"`
	MulticastBytes   document.Value[int64] `toml:"multicast_bytes"`
}

type rawIPsec struct {
	At document.Place

	SwanctlConnection document.Value[string] `toml:"swanctl_connection"`
	SwanctlConf       document.Value[string] `toml:"swanctl_conf"`

	Identity       document.Value[string]         `toml:"identity"`
	RemoteIdentity document.Value[string]         `toml:"remote_identity"`
	Auth           document.Value[string]         `toml:"auth"`
	PSKFile        document.Value[string]         `toml:"psk_file,secret"`
	Certificates   document.Value[[]string]       `toml:"certificates"`
	CA             document.Value[[]string]       `toml:"ca"`
	Proposals      document.Value[[]string]       `toml:"proposals"`
	ESPProposals   document.Value[[]string]       `toml:"esp_proposals"`
	DPDDelay       document.Value[time.Duration]  `toml:"dpd_delay"`
	RekeyTime      document.Value[time.Duration]  `toml:"rekey_time"`
	ChildRekeyTime document.Value[time.Duration]  `toml:"child_rekey_time"`
	SA             document.Value[string]         `toml:"sa"`
	Connection     document.Value[map[string]any] `toml:"connection"`
	Child          document.Value[map[string]any] `toml:"child"`
}
