// Package secret has the type of passwords and keys, which no output shows, and reports whether a
// secret is in a notation of another program's files.
//
// A secret is used exactly as it stands in its file. Other programs write secrets with quotation
// marks or in encodings that are not part of the secret. If somebody copies such a notation, this
// router has another secret than its peers, and all that they report is AUTHENTICATION_FAILED.
package secret

import (
	"fmt"
	"log/slog"
	"slices"
)

const redacted = "(secret)"

// Secret is a password or key. However it is printed, logged or encoded, only "(secret)" comes out.
// To use it, convert it to []byte or string.
type Secret []byte

// String returns a placeholder.
func (s Secret) String() string { return redacted }

// GoString returns a placeholder.
func (s Secret) GoString() string { return redacted }

// Format writes a placeholder, whatever the verb.
func (s Secret) Format(f fmt.State, _ rune) { fmt.Fprint(f, redacted) }

// LogValue returns a placeholder.
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText returns a placeholder.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// MarshalJSON returns a placeholder.
func (s Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// UnmarshalText sets the secret.
func (s *Secret) UnmarshalText(text []byte) error {
	*s = slices.Clone(text)
	return nil
}
