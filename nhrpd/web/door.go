package web

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// Bounds of tokens and sessions.
const (
	shortestToken = 32
	longestToken  = 1024
	sessionTime   = 12 * time.Hour
	cookieName    = "cygnet-session"
	refusalsEvery = 10 * time.Second // how often wrong tokens are logged at most
)

// ReadToken reads the token that browsers must give. It returns an error if others than the file's
// owner and group can read the file, or if the token is too short to be safe.
func ReadToken(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("read the token: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return "", fmt.Errorf("read the token: %w", err)
	case !info.Mode().IsRegular():
		return "", fmt.Errorf("read the token: %s is no file", path)
	case info.Mode()&0o027 != 0:
		return "", fmt.Errorf("the token in %s is not secret, because others can read it or "+
			"its group can change it: chmod 0600 %s, and write a new token", path, path)
	}
	text, err := io.ReadAll(io.LimitReader(f, longestToken+2))
	if err != nil {
		return "", fmt.Errorf("read the token: %w", err)
	}
	token := strings.TrimSpace(string(text))
	if len(token) < shortestToken || len(token) > longestToken {
		return "", fmt.Errorf("the token in %s has to have %d to %d characters, and has %d: "+
			"openssl rand -hex 32 makes a good one", path, shortestToken, longestToken,
			len(token))
	}
	return token, nil
}

// door lets browsers in that gave the token. Each gets a cookie with a time and a keyed hash of it,
// so that no table of sessions can fill up. The key follows from the token: sessions outlast a
// restart, and end with the token.
type door struct {
	token [sha256.Size]byte // a hash of it, which has one length for all tokens
	key   []byte            // of the cookies; nil: the door is open
	now   func() time.Time
	log   *slog.Logger

	refused atomic.Uint64 // wrong tokens since the last line in the log
	logged  atomic.Int64  // when that was, in nanoseconds
}

// newDoor returns a door that asks for a token, or an open one if the token is empty.
func newDoor(token string, log *slog.Logger) *door {
	d := &door{now: time.Now, log: log}
	if token != "" {
		d.token = sha256.Sum256([]byte(token))
		d.key = sum([]byte(token), "cygnet web session")
	}
	return d
}

// guard lets a request through to h if the browser has given the token.
func (d *door) guard(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !d.lets(r) {
			fail(w, http.StatusUnauthorized, errors.New("give the token first"))
			return
		}
		if d.key != nil {
			w.Header().Set("Cygnet-Token", "given") // so that the page offers to log out
		}
		h.ServeHTTP(w, r)
	})
}

// lets reports whether a request has a cookie of this door that holds.
func (d *door) lets(r *http.Request) bool {
	if d.key == nil {
		return true
	}
	c, err := r.Cookie(cookieName)
	if err != nil {
		return false
	}
	until, mac, _ := strings.Cut(c.Value, ".")
	got, err := base64.RawURLEncoding.DecodeString(mac)
	if err != nil || !hmac.Equal(got, sum(d.key, until)) {
		return false
	}
	seconds, err := strconv.ParseInt(until, 10, 64)
	return err == nil && d.now().Unix() < seconds
}

// login takes the token and gives a cookie.
func (d *door) login(w http.ResponseWriter, r *http.Request) {
	if d.key == nil {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	// A form of another site cannot send this content type.
	if r.Header.Get("Content-Type") != "application/json" {
		fail(w, http.StatusUnsupportedMediaType, errors.New("the token has to come as JSON"))
		return
	}
	var given struct {
		Token string `json:"token"`
	}
	if err := json.NewDecoder(r.Body).Decode(&given); err != nil {
		fail(w, http.StatusBadRequest, errors.New("the request has no token"))
		return
	}
	hash := sha256.Sum256([]byte(given.Token))
	if subtle.ConstantTimeCompare(hash[:], d.token[:]) != 1 {
		d.refuse()
		fail(w, http.StatusForbidden, errors.New("that is not the token"))
		return
	}
	until := strconv.FormatInt(d.now().Add(sessionTime).Unix(), 10)
	mac := base64.RawURLEncoding.EncodeToString(sum(d.key, until))
	d.cookie(w, r, until+"."+mac, int(sessionTime.Seconds()))
}

// logout takes the cookie back.
func (d *door) logout(w http.ResponseWriter, r *http.Request) { d.cookie(w, r, "", -1) }

// cookie answers with the cookie.
func (d *door) cookie(w http.ResponseWriter, r *http.Request, value string, age int) {
	http.SetCookie(w, &http.Cookie{
		Name: cookieName, Value: value, Path: "/", MaxAge: age,
		HttpOnly: true, SameSite: http.SameSiteStrictMode,
		Secure: strings.HasPrefix(r.Header.Get("Origin"), "https://"), // a proxy does TLS
	})
	w.WriteHeader(http.StatusNoContent)
}

// refuse counts a wrong token, and logs how many there were, but not too often.
func (d *door) refuse() {
	d.refused.Add(1)
	now, last := d.now().UnixNano(), d.logged.Load()
	if now-last >= int64(refusalsEvery) && d.logged.CompareAndSwap(last, now) {
		d.log.Warn("a browser gave a wrong token", "times", d.refused.Swap(0))
	}
}

// sum returns a keyed hash of a text.
func sum(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}
