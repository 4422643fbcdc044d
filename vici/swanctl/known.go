package swanctl

import (
	"slices"
	"strings"
)

// The keys that charon accepts (vici_config.c of strongSwan 5.9.8, and those that 6.0 added), and
// the ways to authenticate with a key pair.
var (
	connectionKeys = []string{
		"local_addrs", "remote_addrs", "proposals", "vips", "pools", "version", "aggressive",
		"pull", "dscp", "encap", "mobike",
		"dpd_delay", "dpd_timeout", "fragmentation", "childless", "send_certreq", "send_cert", "keyingtries", "unique", "local_port",
		"remote_port", "reauth_time", "rekey_time", "over_time", "rand_time", "ppk_id", "ppk_required", "if_id_in", "if_id_out",
		"mediation", "mediated_by", "mediation_peer", "ocsp",
	}
	authenticationKeys = []string{
		"groups", "cert_policy", "certs", "cacerts", "pubkeys", "auth", "id", "ca_id", "aaa_id",
		"eap_id", "xauth_id", "revocation",
		"round",
	}
	childKeys = []string{
		"ah_proposals", "esp_proposals", "local_ts", "remote_ts", "updown", "hostaccess", "mode",
		"policies", "policies_fwd_out",
		"replay_window", "rekey_time", "life_time", "rand_time", "rekey_bytes", "life_bytes", "rand_bytes", "rekey_packets",
		"life_packets", "rand_packets", "dpd_action", "start_action", "close_action", "ipcomp",
		"inactivity", "reqid", "mark_in",
		"mark_in_sa", "mark_out", "set_mark_in", "set_mark_out", "tfc_padding", "priority", "interface", "hw_offload", "sha256_96",
		"copy_df", "copy_ecn", "copy_dscp", "if_id_in", "if_id_out", "label", "label_mode", "per_cpu_sas",
	}
	publicKeys = []string{"pubkey", "rsa", "ecdsa", "bliss", "ed25519", "ed448", "ike:"}
)

func contains(list []string, s string) bool { return slices.Contains(list, s) }

// meant returns the end of a message: the known key that a mistyped key may stand for. It differs
// only in capitals, hyphens, or one letter more or less at its end.
func meant(key string, known []string) string {
	plain := func(s string) string {
		return strings.TrimSuffix(strings.ToLower(strings.ReplaceAll(s, "-", "_")), "s")
	}
	for _, k := range known {
		if plain(k) == plain(key) ||
			strings.ReplaceAll(plain(k), "_", "") == strings.ReplaceAll(plain(key), "_", "") {
			return "; did you mean " + k + "?"
		}
	}
	return ""
}
