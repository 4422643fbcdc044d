package vici

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// The client gives charon the contents of certificate files, which charon may not be able to read,
// as soon as they exist, and again when they change.
func TestCertificatesAreFollowed(t *testing.T) {
	bubble(t, func(t *testing.T, f *fakeCharon, c *Client) {
		file := filepath.Join(t.TempDir(), "spoke.pem")
		write := func(text string) {
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		loaded := func() (certs string) {
			synctest.Wait()
			f.do(func(f *fakeCharon) {
				if conn := f.conns["cygnet-gre1"]; conn != nil {
					list, _ := conn.values["local"].(*tree).values["certs"].([]string)
					certs = strings.Join(list, " ")
				}
			})
			return certs
		}
		p := testProfile()
		p.PSK, p.Certs = nil, []string{file}
		c.SetProfile(p)
		after(c, time.Minute)
		if got, said := loaded(), c.Status().LastError; got != "" ||
			!strings.Contains(said, "spoke.pem: no such file") {
			t.Errorf("without a file charon has %q, and the status says %q", got, said)
		}
		write("the first")
		after(c, c.times.profileRetry)
		if got, said := loaded(), c.Status().LastError; got != "the first" || said != "" {
			t.Errorf("with a file charon has %q, and the status says %q", got, said)
		}
		write("the second")
		after(c, c.times.comparison)
		if got := loaded(); got != "the second" {
			t.Errorf("with another file charon has %q", got)
		}
		f.do(func(f *fakeCharon) {
			f.establish("cygnet-gre1", "192.0.2.1", "encr-alg", "DES_CBC", "initiator", "no")
		})
		if eventsNow(c); f.count("terminate 1") != 1 {
			t.Error("what is allowed was not known once the file was there")
		}
	})
}
