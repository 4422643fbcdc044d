package secret

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

// No way to print, log or encode a secret shows it, also inside another value.
func TestSecretIsNeverShown(t *testing.T) {
	const word = "hunter2hunter2"
	secret := Secret(word)
	holder := struct {
		S Secret
		P *Secret
		M map[string]any
	}{secret, &secret, map[string]any{"k": secret}}

	var shown bytes.Buffer
	for _, verb := range []string{
		"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%c", "%U", "%o", "%t",
	} {
		fmt.Fprintf(&shown, verb+" "+verb+"\n", secret, holder)
	}
	fmt.Fprintln(&shown, secret, holder, secret.String(), secret.GoString())
	for _, h := range []slog.Handler{
		slog.NewTextHandler(&shown, nil), slog.NewJSONHandler(&shown, nil),
	} {
		slog.New(h).Info("x", "secret", secret, "holder", holder)
	}
	for _, x := range []any{secret, holder, map[string]Secret{"k": secret}} {
		data, err := json.Marshal(x)
		if err != nil {
			t.Fatal(err)
		}
		shown.Write(data)
	}
	text, err := secret.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	shown.Write(text)

	for _, form := range []string{
		word, fmt.Sprintf("%x", word), fmt.Sprintf("%X", word), fmt.Sprint([]byte(word)),
		"104 117 110", "aHVudGVy",
	} {
		if strings.Contains(shown.String(), form) {
			t.Errorf("%q is in:\n%s", form, shown.String())
		}
	}
	if string(secret) != word {
		t.Error("a conversion must give the secret itself")
	}
}
