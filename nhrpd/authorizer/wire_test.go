package authorizer

import (
	"net/netip"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// What an answer may have, and what a key that is missing means.
func TestAnswers(t *testing.T) {
	for _, tt := range []struct {
		line string
		want Answer
	}{
		{`{"v":1,"id":7,"allow":true}`, Answer{ID: 7, Lifetime: 5 * time.Minute}},
		{`{"v":1,"id":7,"allow":false,"reason":"locked","ttl":60}`,
			Answer{ID: 7, Refused: true, Reason: "locked", Lifetime: time.Minute}},
		{`{"v":1,"id":7,"allow":true,"announce":[],"shortcut":false,"ttl":0}`,
			Answer{ID: 7, Bounded: true, NoShortcut: true, Lifetime: 5 * time.Second}},
		{`{"v":1,"id":7,"allow":true,"announce":["172.16.0.0/12","2001:db8::/48"],"ttl":99999999}`,
			Answer{ID: 7, Bounded: true, Lifetime: 24 * time.Hour, Announce: []netip.Prefix{
				netip.MustParsePrefix("172.16.0.0/12"), netip.MustParsePrefix("2001:db8::/48")}}},
		{`{"v":1,"id":7,"allow":false,"reason":"a\u0007b\nc\u202ed"}`,
			Answer{ID: 7, Refused: true, Reason: "a b c d", Lifetime: 5 * time.Minute}},
		{`{"v":1,"id":7,"allow":false,"reason":"` + strings.Repeat("é", 900) + `"}`,
			Answer{ID: 7, Refused: true, Reason: strings.Repeat("é", 200),
				Lifetime: 5 * time.Minute}},
	} {
		a, recheck, err := parse([]byte(tt.line))
		if err != nil || a == nil || recheck != "" {
			t.Errorf("%s: %v", tt.line, err)
			continue
		}
		if d := cmp.Diff(tt.want, *a, cmpopts.EquateComparable(netip.Prefix{})); d != "" {
			t.Errorf("%s (- want, + got):\n%s", tt.line, d)
		}
	}
}

// The authorizer may have a question asked again, about one identity or about all.
func TestRechecks(t *testing.T) {
	for line, want := range map[string]string{
		`{"v":1,"recheck":"spoke1"}`: "spoke1", `{"v":1,"recheck":""}`: "",
	} {
		if a, recheck, err := parse([]byte(line)); a != nil || recheck != want || err != nil {
			t.Errorf("%s: %v, %q, %v", line, a, recheck, err)
		}
	}
}

// A line that is not wholly understood is no answer: what was meant to narrow it might be lost.
func TestMalformedLines(t *testing.T) {
	for _, line := range []string{
		"", "no JSON", "null", "7", "[]", "{}", `{"v":1}`, `{"v":1,"id":7}`,
		`{"v":1,"allow":true}`, `{"id":7,"allow":true}`, `{"v":2,"id":7,"allow":true}`,
		`{"v":1,"id":-7,"allow":true}`, `{"v":1,"id":"7","allow":true}`,
		`{"v":1,"id":7,"allow":"yes"}`, `{"v":1,"id":7,"allow":true,"anounce":[]}`,
		`{"v":1,"id":7,"allow":true,"announce":null}`,
		`{"v":1,"id":7,"allow":true,"shortcut":null}`,
		`{"v":1,"id":7,"allow":true,"announce":["172.16.0.1/12"]}`,
		`{"v":1,"id":7,"allow":true,"announce":["everything"]}`,
		`{"v":1,"id":7,"allow":true,"announce":"172.16.0.0/12"}`,
		`{"v":1,"id":7,"allow":true,"announce":[` + strings.Repeat(`"10.0.0.0/8",`, 256) +
			`"10.0.0.0/8"]}`,
		`{"v":1,"id":7,"allow":true,"ttl":-1}`, `{"v":1,"id":7,"allow":true,"ttl":1.5}`,
		`{"v":1,"id":7,"allow":true} {"v":1,"id":8,"allow":true}`,
		`{"v":1,"id":7,"allow":true,"recheck":"spoke1"}`, `{"v":1,"recheck":7}`,
	} {
		if a, _, err := parse([]byte(line)); err == nil {
			t.Errorf("%s: taken as %+v", line, a)
		}
	}
}

// Whatever an authorizer sends, the parser does not panic, and what it takes keeps to the bounds.
func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"v":1,"id":7,"allow":false,"reason":"locked","ttl":60}`))
	f.Add([]byte(`{"v":1,"id":7,"allow":true,"announce":["172.16.0.0/12"],"shortcut":false}`))
	f.Add([]byte(`{"v":1,"recheck":"spoke1"}`))
	f.Add([]byte(`{"v":1,"id":1e3,"allow":null,"announce":[null]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		a, _, err := parse(data)
		if err != nil || a == nil {
			return
		}
		if a.Lifetime < leastLifetime || a.Lifetime > mostLifetime ||
			len([]rune(a.Reason)) > maxText || len(a.Announce) > maxPrefixes ||
			!a.Bounded && len(a.Announce) > 0 {
			t.Errorf("%q is taken as %+v", data, a)
		}
		for _, r := range a.Reason {
			if !unicode.IsPrint(r) {
				t.Errorf("%q has %q in its reason", data, r)
			}
		}
		for _, p := range a.Announce {
			if !p.IsValid() || p != p.Masked() {
				t.Errorf("%q lets %s be announced", data, p)
			}
		}
	})
}
