package message

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

// What New builds, the readers read back.
func TestMessagesAreReadBack(t *testing.T) {
	m, err := New(map[string]any{
		"text": "a", "yes": true, "no": false, "number": 17, "large": int64(1) << 40,
		"list": []string{"a", "b"}, "any": []any{"c"}, "commas": "d,e", "hex": "ff",
		"address": "::ffff:192.0.2.1", "seconds": "90",
		"section": map[string]any{"key": "value"},
	})
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{
		"text": "a", "yes": "yes", "no": "no", "number": "17", "large": "1099511627776", "none": "",
		"list": "", "section": "",
	} {
		if got := Text(m, key); got != want {
			t.Errorf("want the text %q at %s, have %q", want, key, got)
		}
	}
	for key, want := range map[string][]string{
		"list": {"a", "b"}, "any": {"c"}, "commas": {"d", "e"}, "text": {"a"}, "none": nil,
	} {
		if got := Texts(m, key); !slices.Equal(got, want) {
			t.Errorf("want the list %q at %s, have %q", want, key, got)
		}
	}
	if got := List(m, "commas"); got != nil {
		t.Errorf("a text is read as the list %q", got)
	}
	if Number(m, "number", 10) != 17 || Number(m, "hex", 16) != 255 || Number(m, "text", 10) != 0 {
		t.Errorf("numbers are read as %d, %d, %d",
			Number(m, "number", 10), Number(m, "hex", 16), Number(m, "text", 10))
	}
	if got := Address(m, "address"); got != netip.MustParseAddr("192.0.2.1") {
		t.Errorf("want the address 192.0.2.1, have %v", got)
	}
	if got := Address(m, "text"); got.IsValid() {
		t.Errorf("a text is read as the address %v", got)
	}
	now := time.Unix(1000, 0)
	if got := Time(m, "seconds", now, -1); !got.Equal(time.Unix(910, 0)) {
		t.Errorf("90 s before 1000 is read as %d", got.Unix())
	}
	if got := Time(m, "none", now, 1); !got.IsZero() {
		t.Errorf("no time is read as %v", got)
	}
	if body, ok := Section(m, "section"); !ok || Text(body, "key") != "value" {
		t.Errorf("the section is read as %v, %v", body, ok)
	}
	if names, bodies := Sections(m); !slices.Equal(names, []string{"section"}) || len(bodies) != 1 {
		t.Errorf("want one section, have %q", names)
	}
}

// A value that VICI has no form for is an error that names its key.
func TestValuesWithoutAForm(t *testing.T) {
	for want, section := range map[string]map[string]any{
		"key: float64":               {"key": 1.5},
		"key: item 1 is int":         {"key": []any{1}},
		"section: key: []int is no ": {"section": map[string]any{"key": []int{1}}},
	} {
		if _, err := New(section); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want an error with %q, have %v", want, err)
		}
	}
}

// A text that a peer chose does not fill a log.
func TestShorten(t *testing.T) {
	if got := Shorten("spoke-1"); got != "spoke-1" {
		t.Errorf("a short text became %q", got)
	}
	if got := Shorten(strings.Repeat("x", 5000)); len(got) > 300 || !strings.HasSuffix(got, "x…") {
		t.Errorf("a long text has %d bytes still", len(got))
	}
}
