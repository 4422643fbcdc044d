package packet

import (
	"strings"
	"testing"
)

// Cisco sends the Authentication extension as the number 1 followed by the password, and nothing
// else.
func TestPasswordRoundTrip(t *testing.T) {
	for _, pw := range []string{"a", "cygnet", "eightchr", strings.Repeat("x", 64)} {
		e := PasswordExtension(pw)
		if e.Type != ExtensionAuthentication || !e.Compulsory || string(e.Data) != "\x00\x00\x00\x01"+pw {
			t.Errorf("extension for %q: %+v", pw, e)
		}
		got, err := Password(e)
		if err != nil || got != pw {
			t.Errorf("password %q, %v, want %q", got, err, pw)
		}
	}
}

// An empty password, or one of more than 64 bytes, must not get onto the wire.
func TestPasswordExtensionRefused(t *testing.T) {
	for _, pw := range []string{"", strings.Repeat("x", 65)} {
		p := Packet{Type: PurgeReply, Extensions: []Extension{PasswordExtension(pw)}}
		if _, err := p.Append(nil); err == nil {
			t.Errorf("a password of %d bytes is sent", len(pw))
		}
	}
}

// Anything else in the extension is an error, and the error shows none of it.
func TestPasswordMalformed(t *testing.T) {
	const secret = "hunter2"
	tests := []struct {
		name string
		e    Extension
		want string
	}{
		{"another extension", Extension{
			Type: ExtensionVendor, Data: []byte("\x00\x00\x00\x01" + secret),
		}, "vendor-private extension is not the authentication extension"},
		{"no data", Extension{Type: ExtensionAuthentication}, "not a plaintext password"},
		{"cut off", Extension{Type: ExtensionAuthentication, Data: []byte{0, 0, 0}}, "not a plaintext password"},
		{"another SPI", Extension{
			Type: ExtensionAuthentication, Data: []byte("\x00\x00\x00\x02" + secret),
		}, "not a plaintext password"},
		{"reserved field", Extension{
			Type: ExtensionAuthentication, Data: []byte("\x00\x01\x00\x01" + secret),
		}, "not a plaintext password"},
		{"empty", Extension{Type: ExtensionAuthentication, Data: []byte{0, 0, 0, 1}}, "a password of 0 bytes"},
		{"too long", Extension{
			Type: ExtensionAuthentication,
			Data: []byte("\x00\x00\x00\x01" + strings.Repeat(secret, 10)),
		}, "a password of 70 bytes"},
	}
	for _, test := range tests {
		pw, err := Password(test.e)
		if pw != "" || err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: password %q, error %v, want %q", test.name, pw, err, test.want)
			continue
		}
		if strings.Contains(err.Error(), secret) {
			t.Errorf("%s: the error tells the secret: %v", test.name, err)
		}
	}
}

// Extension finds an extension by its type, and callers may write to the result. Device
// capabilities are not NAT addresses.
func TestExtension(t *testing.T) {
	var p Packet
	if err := p.Parse(unhex(t, golden[2].hex)); err != nil {
		t.Fatal(err)
	}
	if e := p.Extension(ExtensionForwardTransit); e != &p.Extensions[0] {
		t.Errorf("forward transit is %+v", e)
	}
	if e := p.Extension(ExtensionNATAddress); e != &p.Extensions[2] {
		t.Errorf("NAT address is %+v", e)
	}
	if e := p.Extension(ExtensionAuthentication); e != nil {
		t.Errorf("authentication is %+v", e)
	}
}
