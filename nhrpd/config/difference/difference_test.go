package difference

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"cygnet/nhrpd/config"
	"cygnet/nhrpd/config/secret"
)

// Each field of an interface's configuration is compared by name, or is known to follow from
// others: a setting that a reload changes and does not tell of would be a secret.
func TestEachSettingIsCompared(t *testing.T) {
	want := map[string]bool{}
	var collect func(table string, of reflect.Type)
	collect = func(table string, of reflect.Type) {
		for i := range of.NumField() {
			f := of.Field(i)
			if table == "" && slices.Contains(parts, f.Name) {
				if f.Type.Kind() == reflect.Pointer {
					f.Type = f.Type.Elem()
				}
				collect(f.Name+".", f.Type)
				continue
			}
			want[table+f.Name] = true
		}
	}
	collect("", reflect.TypeFor[config.Interface]())
	for name := range want {
		if _, ok := settings[name]; !ok {
			t.Errorf("a change of %s is not told", name)
		}
	}
	for name := range settings {
		if !want[name] {
			t.Errorf("there is no field %s", name)
		}
	}
}

// A difference names the key with both values and what it costs, and shows no secret.
func TestDifferences(t *testing.T) {
	key := uint32(42)
	from := config.Interface{Name: "gre1", HoldingTime: time.Minute, Protected: true,
		IPsec: &config.IPsec{PSK: secret.Secret("old"), Proposals: []string{"a"}}}
	to := config.Interface{Name: "gre1", HoldingTime: 2 * time.Minute, Protected: true, Key: &key,
		NHS: []config.NHS{{NBMA: "192.0.2.1"}}, Limits: config.Limits{Bindings: 3},
		IPsec: &config.IPsec{PSK: secret.Secret("new"), Proposals: []string{"a", "b"}}}
	var got []string
	for _, c := range Between(&from, &to) {
		got = append(got, strings.Join([]string{c.Key, c.From, c.To, c.Interrupts}, "|"))
	}
	want := []string{
		"key||42|" + otherTunnel,
		"holding_time|1m0s|2m0s|",
		"nhs||192.0.2.1|",
		"limits.bindings|0|3|",
		"the key in ipsec.psk_file|(secret)|(secret)|",
		"ipsec.proposals|[a]|[a b]|" + algorithms,
	}
	if !slices.Equal(got, want) {
		t.Errorf("want\n%s\nhave\n%s", strings.Join(want, "\n"), strings.Join(got, "\n"))
	}
	fewer := to
	fewer.NHS = []config.NHS{{NBMA: "192.0.2.2"}}
	if got := Between(&to, &fewer); len(got) != 1 || got[0].Interrupts != lostServers {
		t.Errorf("another server in the place of one: %+v", got)
	}
	if same := Between(&to, &to); len(same) > 0 {
		t.Errorf("a configuration differs from itself: %+v", same)
	}
}

// Rules in other lines of the file are the same rules.
func TestLinesOfRulesAreNoDifference(t *testing.T) {
	load := func(before string) *config.Interface {
		c, err := config.Parse([]byte(before+`
			[interface.gre1]
			address = "10.255.0.1/24"
			underlay = "eth0"
			ipsec = { auth = "certificate", identity = "hub.example.net" }
			peer = [{ identity = "*", addresses = ["10.255.0.0/24"] }]`), "cygnet.toml")
		if err != nil {
			t.Fatal(err)
		}
		return &c.Interfaces[0]
	}
	if got := Between(load(""), load("# a comment\n")); len(got) > 0 {
		t.Errorf("want no difference, have %+v", got)
	}
}
