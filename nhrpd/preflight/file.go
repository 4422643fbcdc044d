package preflight

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// These values bound what is read.
const (
	maxFile  = 1 << 20 // bytes of a file
	maxFiles = 1000    // files of a folder
)

// read returns what a regular file contains, at most maxFile bytes. It returns an error if the file
// cannot be read or is not a regular file.
func read(path string) ([]byte, fs.FileInfo, error) {
	// Without O_NONBLOCK, opening a named pipe would wait for its writer.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, nil, fmt.Errorf("%s is not a regular file", path)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile))
	return data, info, err
}

// folder calls f for each regular file of a folder. A folder that does not exist has none. folder
// returns the errors of the files that it could not read.
func folder(path string, f func(path string, data []byte, info fs.FileInfo)) error {
	entries, err := os.ReadDir(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries[:min(len(entries), maxFiles)] {
		name := filepath.Join(path, e.Name())
		data, info, err := read(name)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		f(name, data, info)
	}
	return errors.Join(errs...)
}

// body returns what a file contains, which may be PEM or DER, as a PEM block.
func body(data []byte) (block *pem.Block) {
	if block, _ := pem.Decode(data); block != nil {
		return block
	}
	return &pem.Block{Bytes: data}
}

// readCertificate reads the certificate in a file. It returns an error if the file has none.
func readCertificate(path string) (*certificate, error) {
	data, _, err := read(path)
	if err != nil {
		return nil, err
	}
	c, err := x509.ParseCertificate(body(data).Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s holds no X.509 certificate: %w", path, err)
	}
	return &certificate{c, path}, nil
}

// certificatesIn returns the certificates in a folder. Like swanctl --load-creds, it passes over
// files without one.
func certificatesIn(path string) (certs []*certificate, err error) {
	err = folder(path, func(name string, data []byte, _ fs.FileInfo) {
		if c, err := x509.ParseCertificate(body(data).Bytes); err == nil {
			certs = append(certs, &certificate{c, name})
		}
	})
	return certs, err
}

// keys has the private keys that swanctl loads.
type keys struct {
	public    []crypto.PublicKey // of the keys that can be read
	encrypted int                // how many keys are encrypted; nobody can tell whose they are
	loose     []string           // the files that everybody may read
	err       error              // what could not be read
}

// keysIn reads the private keys below swanctl's folder.
func keysIn(swanctl string) (k keys) {
	for _, name := range []string{"private", "rsa", "ecdsa", "pkcs8"} {
		err := folder(filepath.Join(swanctl, name), func(
			path string, data []byte, info fs.FileInfo,
		) {
			if info.Mode()&0o007 != 0 {
				k.loose = append(k.loose, path)
			}
			block := body(data)
			if strings.Contains(block.Type, "ENCRYPTED") ||
				strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED") {
				k.encrypted++
				return
			}
			if key := privateKey(block.Bytes); key != nil {
				k.public = append(k.public, key.Public())
			}
		})
		k.err = errors.Join(k.err, err)
	}
	return k
}

// privateKey returns a key that is in one of the usual forms, or nil if it is in none.
func privateKey(der []byte) crypto.Signer {
	if key, err := x509.ParsePKCS8PrivateKey(der); err == nil {
		signer, _ := key.(crypto.Signer)
		return signer
	}
	if key, err := x509.ParseECPrivateKey(der); err == nil {
		return key
	}
	if key, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return key
	}
	return nil
}

// has reports whether one of the keys belongs to the certificate.
func (k keys) has(c *x509.Certificate) bool {
	own, ok := c.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	if !ok {
		return true // Go does not know keys of this kind, so they cannot be compared
	}
	for _, public := range k.public {
		if own.Equal(public) {
			return true
		}
	}
	return false
}
