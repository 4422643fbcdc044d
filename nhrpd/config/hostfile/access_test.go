package hostfile

import "testing"

// Only root and the daemon's user may change a file with a secret.
func TestWritable(t *testing.T) {
	const daemon = 900
	for _, test := range []struct {
		name string
		file File
		want string // "": nobody
	}{
		{"root's own", File{Mode: 0o600}, ""},
		{"for a group to read", File{Mode: 0o640}, ""},
		{"the daemon's", File{Mode: 0o600, owner: daemon}, ""},
		{"for its group to write", File{Mode: 0o660}, "the group of the file may change F (mode 0660); chmod go-w F"},
		{"for everybody to write", File{Mode: 0o602}, "everybody on this host may change F (mode 0602); chmod go-w F"},
		{"somebody's", File{Mode: 0o600, owner: 1000}, "F belongs to user 1000, who may change it; chown root F"},
		{"in a folder for everybody", File{Mode: 0o600, loose: []string{"/d"}}, "everybody on this host may put another file in the place of F; chmod o-w /d"},
		{"on a system without owners", File{Mode: 0o600, owner: -1}, ""},
	} {
		if got := test.file.WriteFault("F", daemon); got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}
