package hostfile

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// File is the content of a file, with the facts that tell who else may read or change it.
type File struct {
	Data  []byte
	Mode  fs.FileMode
	owner int // user ID
	// folders on the path to the file, symbolic links followed, in which everybody may replace it
	loose []string
}

// accessOf finds out who may read or change an open file. The folders that hold it count as well:
// who may rename in such a folder may replace the file without write access to it.
func accessOf(path string, info fs.FileInfo) File {
	f := File{Mode: info.Mode(), owner: -1}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		f.owner = int(st.Uid)
	}
	folders := []string{filepath.Dir(path)}
	if target, err := filepath.EvalSymlinks(path); err == nil &&
		filepath.Dir(target) != folders[0] {
		folders = append(folders, filepath.Dir(target))
	}
	for _, folder := range folders {
		if at, err := os.Stat(folder); err == nil && at.Mode()&0o002 != 0 &&
			at.Mode()&fs.ModeSticky == 0 {
			f.loose = append(f.loose, folder)
		}
	}
	return f
}

// ReadFault returns a message if everybody on this host may read the file, which holds a secret;
// otherwise "". Its group may read it, so that other programs can share the secret.
func (f *File) ReadFault(name string) string {
	if f.Mode&0o007 == 0 {
		return ""
	}
	return fmt.Sprintf("everybody on this host has access to %s (mode %04o), so it is no secret; change the secret, then chmod 600 %s", name, f.Mode.Perm(), name)
}

// WriteFault returns a message if anybody other than root and user may change the file; otherwise
// "". Whoever may change it decides which routers may join the network.
func (f *File) WriteFault(name string, user int) string {
	switch {
	case f.Mode&0o022 != 0:
		who := "the group of the file"
		if f.Mode&0o002 != 0 {
			who = "everybody on this host"
		}
		return fmt.Sprintf("%s may change %s (mode %04o); chmod go-w %s",
			who, name, f.Mode.Perm(), name)
	case f.owner >= 0 && f.owner != 0 && f.owner != user:
		return fmt.Sprintf("%s belongs to user %d, who may change it; chown root %s",
			name, f.owner, name)
	case len(f.loose) > 0:
		return fmt.Sprintf("everybody on this host may put another file in the place of %s; chmod o-w %s", name, strings.Join(f.loose, " "))
	}
	return ""
}
