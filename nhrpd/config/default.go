package config

import (
	"log/slog"
	"path/filepath"
	"time"

	"cygnet/vici/swanctl"
)

// DefaultAPISocket is the socket at which the daemon listens and the command line connects.
const DefaultAPISocket = "/run/cygnet/cygnet.sock"

// DefaultVICISocket returns the socket at which charon listens on this host.
func DefaultVICISocket() string { return swanctl.PlacesHere().Socket }

// defaultSwanctlConf returns where this host has the file from which swanctl loads connections.
func defaultSwanctlConf() string {
	return filepath.Join(swanctl.PlacesHere().Folder, "swanctl.conf")
}

func defaultDaemon() Daemon {
	return Daemon{
		APISocket:      DefaultAPISocket,
		VICISocket:     DefaultVICISocket(),
		StateDir:       "/var/lib/cygnet",
		MaxInitiations: 32,
	}
}

func defaultLog() Log {
	return Log{Level: slog.LevelInfo, Levels: map[string]slog.Level{}, Format: FormatText}
}

func defaultInterface(name string) Interface {
	return Interface{
		Name:  name,
		TTL:   64,
		MTU:   1400,
		Table: 254,
		// The rule comes before those of VRFs (1000), of the main table, and of sites that give no
		// priority.
		UnderlayRule:   100,
		UnderlayReturn: 30 * time.Second,

		HoldingTime: 10 * time.Minute,
		IdleTime:    5 * time.Minute,

		FallbackDelay: 30 * time.Second,

		Limits:    defaultLimits(),
		Multicast: Multicast{NHSs: true, Clients: true},
		Paths:     Paths{Prove: true, Timeout: 3 * time.Second},
		Protected: true,
		Admission: true,
	}
}

func defaultLimits() Limits {
	return Limits{
		Bindings:    10000,
		Prefixes:    10000,
		Shortcuts:   4096,
		Answers:     4096,
		Held:        1024,
		Indications: 1000,
		Errors:      100,
		Requests:    100,
		Transit:     1000,
		SAs:         32,
		Links:       1000,

		MulticastPackets: 1000,
		MulticastBytes:   1_250_000, // 10 Mbit/s
	}
}

// Every peer offers both key lengths, so only the order decides between them. The second group is
// for peers without X25519, and the first proposal is for peers whose strongSwan has ML-KEM.
func defaultIPsec() IPsec {
	return IPsec{
		Proposals: []string{
			"aes256gcm16-prfsha384-x25519-ke1_mlkem768",
			"aes256gcm16-prfsha384-x25519-ecp384",
			"aes128gcm16-prfsha256-x25519-ecp256",
		},
		ESPProposals: []string{
			"aes256gcm16-x25519-ke1_mlkem768",
			"aes256gcm16-x25519-ecp384",
			"aes128gcm16-x25519-ecp256",
		},
		DPDDelay:       10 * time.Second,
		RekeyTime:      4 * time.Hour,
		ChildRekeyTime: time.Hour,
	}
}
