// Packaging makes the deb and the rpm of Cygnet from programs that were built before. It is a
// separate module, so that the daemon's module does not depend on the packaging library.
//
//	go run . -version 1.2.3 -arch amd64 -bin ../bin -out ../dist
//	go run . -version 1.2.3 -only deb
//
// The same sources, programs and SOURCE_DATE_EPOCH give the same bytes.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"github.com/goreleaser/nfpm/v2"
	"github.com/goreleaser/nfpm/v2/deb"
	"github.com/goreleaser/nfpm/v2/rpm"
)

func main() {
	b := build{}
	version := flag.String("version", "", "the `version`, as packaging/describe prints it")
	out := flag.String("out", "../dist", "the `folder` that the packages go to")
	flag.StringVar(&b.arch, "arch", runtime.GOARCH, "the `architecture`, in Go's words, that the programs are built for")
	flag.StringVar(&b.bin, "bin", "../bin", "the `folder` with cygnetd and cygnet")
	flag.StringVar(&b.root, "root", "..", "the `folder` of the sources")
	flag.StringVar(&b.only, "only", "", "make only this `format`, deb or rpm")
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "packaging: unexpected argument %q\n", flag.Arg(0))
		os.Exit(2)
	}
	if err := run(b, *version, *out); err != nil {
		fmt.Fprintln(os.Stderr, "packaging:", err)
		os.Exit(1)
	}
}

func run(b build, version, out string) (err error) {
	b.version = version
	if err := checkVersion(version); err != nil {
		return err
	}
	if err := b.checkPrograms(); err != nil {
		return err
	}
	if b.mtime, err = sourceTime(b.root); err != nil {
		return err
	}
	paths, err := b.packages(out)
	for _, p := range paths {
		fmt.Println(p)
	}
	return err
}

// format is one kind of package.
type format struct {
	name     string
	packager nfpm.Packager
	file     func(b *build) string
	info     func(b *build, stage string) *nfpm.Info
}

func formats() []format {
	return []format{
		{"deb", deb.Default, func(b *build) string {
			return fmt.Sprintf("cygnet_%s_%s.deb", b.version, b.arch)
		}, debInfo},
		{"rpm", rpm.DefaultRPM, func(b *build) string {
			return fmt.Sprintf("cygnet-%s.%s.rpm", b.version, rpmArch(b.arch))
		}, rpmInfo},
	}
}

// packages writes a package of each format to the folder and returns their paths.
func (b *build) packages(out string) (paths []string, err error) {
	stage, err := os.MkdirTemp("", "cygnet-packaging-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(stage)
	if err := b.stage(stage); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return nil, err
	}
	for _, f := range formats() {
		if b.only != "" && b.only != f.name {
			continue
		}
		path := filepath.Join(out, f.file(b))
		if err := write(f, f.info(b, stage), path); err != nil {
			return paths, fmt.Errorf("make %s: %w", path, err)
		}
		paths = append(paths, path)
	}
	return paths, nil
}

// write makes one package. If it fails, it leaves no incomplete package.
func write(f format, info *nfpm.Info, path string) error {
	part, err := os.Create(path + ".part")
	if err != nil {
		return err
	}
	defer os.Remove(part.Name())
	defer part.Close()
	if err := f.packager.Package(info, part); err != nil {
		return err
	}
	if err := part.Close(); err != nil {
		return err
	}
	return os.Rename(part.Name(), path)
}
