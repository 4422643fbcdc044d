package config

import "time"

// The raw types hold the file as it is written: one field for each key, with only its type checked.
// All keys of the file are defined here and nowhere else. A test makes sure that reference.toml has
// all of them.

type rawFile struct {
	Daemon    rawDaemon               `toml:"daemon"`
	Log       rawLog                  `toml:"log"`
	Interface map[string]rawInterface `toml:"interface"`
}

type rawDaemon struct {
	APISocket      value[string] `toml:"api_socket"`
	APIGroup       value[string] `toml:"api_group"`
	VICISocket     value[string] `toml:"vici_socket"`
	StateDir       value[string] `toml:"state_dir"`
	MaxInitiations value[int64]  `toml:"max_initiations"`
}

type rawLog struct {
	Level  value[string] `toml:"level"`
	Format value[string] `toml:"format"`
	Levels rawLevels     `toml:"levels"`
}

type rawLevels struct {
	API    value[string] `toml:"api"`
	Config value[string] `toml:"config"`
	Engine value[string] `toml:"engine"`
	Kernel value[string] `toml:"kernel"`
	VICI   value[string] `toml:"vici"`
}

type rawInterface struct {
	At path // the place of the table

	Address  value[string] `toml:"address"`
	Overlay  value[string] `toml:"overlay"`
	Underlay value[string] `toml:"underlay"`
	Key      value[int64]  `toml:"key"`
	TTL      value[int64]  `toml:"ttl"`
	MTU      value[int64]  `toml:"mtu"`
	Table    value[int64]  `toml:"table"`
	Metric   value[int64]  `toml:"metric"`

	HoldingTime        value[time.Duration] `toml:"holding_time"`
	IdleTime           value[time.Duration] `toml:"idle_time"`
	Authentication     value[Secret]        `toml:"authentication"`
	AuthenticationFile value[string]        `toml:"authentication_file"`
	Unique             value[bool]          `toml:"unique"`
	Redirect           value[bool]          `toml:"redirect"`
	Shortcut           value[bool]          `toml:"shortcut"`
	Server             value[bool]          `toml:"server"`
	Admission          value[bool]          `toml:"admission"`
	SourceCheck        value[bool]          `toml:"source_check"`
	NHS                []rawNHS             `toml:"nhs"`
	Map                []rawMap             `toml:"map"`
	Announce           value[[]string]      `toml:"announce"`
	Accept             value[[]string]      `toml:"accept"`
	Peer               []rawPeer            `toml:"peer"`
	Limits             rawLimits            `toml:"limits"`

	Protection value[string] `toml:"protection"`
	IPsec      *rawIPsec     `toml:"ipsec"`
}

type rawNHS struct {
	At path

	NBMA     value[string] `toml:"nbma"`
	Protocol value[string] `toml:"protocol"`
}

type rawMap struct {
	At path

	Protocol value[string] `toml:"protocol"`
	NBMA     value[string] `toml:"nbma"`
}

type rawPeer struct {
	At path

	Identity  value[string]   `toml:"identity"`
	Addresses value[[]string] `toml:"addresses"`
	Announce  value[[]string] `toml:"announce"`
	Shortcut  value[bool]     `toml:"shortcut"`
}

type rawLimits struct {
	Bindings    value[int64] `toml:"bindings"`
	Prefixes    value[int64] `toml:"prefixes"`
	Shortcuts   value[int64] `toml:"shortcuts"`
	Answers     value[int64] `toml:"answers"`
	Held        value[int64] `toml:"held"`
	Indications value[int64] `toml:"indications"`
	Errors      value[int64] `toml:"errors"`
	Requests    value[int64] `toml:"requests"`
	Transit     value[int64] `toml:"transit"`
	SAs         value[int64] `toml:"sas"`
}

type rawIPsec struct {
	At path

	SwanctlConnection value[string] `toml:"swanctl_connection"`
	SwanctlConf       value[string] `toml:"swanctl_conf"`

	Identity       value[string]         `toml:"identity"`
	RemoteIdentity value[string]         `toml:"remote_identity"`
	Auth           value[string]         `toml:"auth"`
	PSKFile        value[string]         `toml:"psk_file"`
	Certificates   value[[]string]       `toml:"certificates"`
	CA             value[[]string]       `toml:"ca"`
	Proposals      value[[]string]       `toml:"proposals"`
	ESPProposals   value[[]string]       `toml:"esp_proposals"`
	DPDDelay       value[time.Duration]  `toml:"dpd_delay"`
	RekeyTime      value[time.Duration]  `toml:"rekey_time"`
	ChildRekeyTime value[time.Duration]  `toml:"child_rekey_time"`
	Connection     value[map[string]any] `toml:"connection"`
	Child          value[map[string]any] `toml:"child"`
}
