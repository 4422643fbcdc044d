package web

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const token = "0123456789abcdef0123456789abcdef"

// login has a browser give a token.
func login(h http.Handler, token, origin string) *httptest.ResponseRecorder {
	r := httptest.NewRequest("POST", "/login", strings.NewReader(`{"token":"`+token+`"}`))
	r.Host = "127.0.0.1:8116"
	r.Header.Set("Content-Type", "application/json")
	if origin != "" {
		r.Header.Set("Origin", origin)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// Without the token a browser gets the page, which asks for it, and nothing of the daemon.
func TestTokenIsNeeded(t *testing.T) {
	d := newDaemon(t, empty)
	h := Handler(Options{Client: d.client, Token: token, Log: quiet})
	for path := range endpoints {
		for _, cookie := range []string{"", cookieName + "=", cookieName + "=" + token,
			cookieName + "=99999999999.", cookieName + "=99999999999.AAAA"} {
			w := get(h, "GET", prefix+path, "Cookie", cookie)
			if w.Code != http.StatusUnauthorized {
				t.Errorf("%s with the cookie %q: %d, want 401", path, cookie, w.Code)
			}
		}
	}
	if asked := d.requests(); len(asked) > 0 {
		t.Errorf("the daemon was asked %q", asked)
	}
	if w := get(h, "GET", "/"); w.Code != 200 {
		t.Errorf("the page: %d, want 200", w.Code)
	}
}

// Who gives the token gets a cookie that scripts and other sites cannot use, and that ends.
func TestLogin(t *testing.T) {
	d := newDaemon(t, empty)
	h := Handler(Options{Client: d.client, Token: token, Log: quiet})
	now, move := at(time.Unix(1_800_000_000, 0))
	h.(*site).door.now = now
	w := login(h, token, "http://127.0.0.1:8116")
	cookies := w.Result().Cookies()
	if w.Code != http.StatusNoContent || len(cookies) != 1 {
		t.Fatalf("the right token: %d and %d cookies", w.Code, len(cookies))
	}
	c := cookies[0]
	if !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Secure || c.Path != "/" ||
		strings.Contains(c.Value, token) || c.MaxAge != int(sessionTime.Seconds()) {
		t.Errorf("the cookie is %v", c)
	}
	status := func(h http.Handler, value string) int {
		return get(h, "GET", "/api/v1/status", "Cookie", cookieName+"="+value).Code
	}
	answer := get(h, "GET", "/api/v1/status", "Cookie", cookieName+"="+c.Value)
	if answer.Header().Get("Cygnet-Token") == "" {
		t.Error("the page is not told that a token was needed")
	}
	if got := status(h, c.Value); got != 200 {
		t.Errorf("with the cookie: %d, want 200", got)
	}
	if got := status(h, "9"+c.Value); got != http.StatusUnauthorized {
		t.Errorf("with a cookie of a later end: %d, want 401", got)
	}
	again := Handler(Options{Client: d.client, Token: token, Log: quiet})
	again.(*site).door.now = now
	if got := status(again, c.Value); got != 200 {
		t.Errorf("after a restart: %d, want 200", got)
	}
	changed := Handler(Options{Client: d.client, Token: token + "x", Log: quiet})
	changed.(*site).door.now = now
	if got := status(changed, c.Value); got != http.StatusUnauthorized {
		t.Errorf("with the cookie of another token: %d, want 401", got)
	}
	move(sessionTime - time.Second)
	if got := status(h, c.Value); got != 200 {
		t.Errorf("shortly before its end: %d, want 200", got)
	}
	move(time.Second)
	if got := status(h, c.Value); got != http.StatusUnauthorized {
		t.Errorf("after its end: %d, want 401", got)
	}
	if c := login(h, token, "https://127.0.0.1:8116").Result().Cookies()[0]; !c.Secure {
		t.Error("behind a proxy with TLS the cookie goes over HTTP, too")
	}
	out := get(h, "POST", "/logout").Result().Cookies()
	if len(out) != 1 || out[0].MaxAge >= 0 {
		t.Errorf("to log out gives %v", out)
	}
}

// A wrong token is refused, and logged without the token and not too often.
func TestWrongToken(t *testing.T) {
	log, text := logged()
	h := Handler(Options{Client: newDaemon(t, empty).client, Token: token, Log: log})
	now, move := at(time.Unix(1_800_000_000, 0))
	h.(*site).door.now = now
	for _, wrong := range []string{"", "x", token[1:], token + "0", strings.ToUpper(token)} {
		if w := login(h, wrong, ""); w.Code != http.StatusForbidden ||
			len(w.Result().Cookies()) > 0 {
			t.Errorf("%q: %d, %v", wrong, w.Code, w.Result().Cookies())
		}
	}
	move(refusalsEvery)
	login(h, "secret-of-somebody", "")
	if n := strings.Count(text.String(), "\n"); n != 2 ||
		!strings.Contains(text.String(), "times=5") {
		t.Errorf("the log has %d lines, want 2, the last of them for 5 times:\n%s", n, text)
	}
	if strings.Contains(text.String(), token[1:]) ||
		strings.Contains(text.String(), "secret-of-somebody") {
		t.Errorf("the log has a token:\n%s", text)
	}
	if w := login(h, token, "http://evil.example"); w.Code != http.StatusForbidden {
		t.Errorf("another site logs in: %d, want 403", w.Code)
	}
	r := httptest.NewRequest("POST", "/login", strings.NewReader("token="+token))
	r.Host = "127.0.0.1:8116"
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if w.Code != http.StatusUnsupportedMediaType {
		t.Errorf("a form: %d, want 415", w.Code)
	}
	if w := login(h, strings.Repeat("x", 2*mostBody), ""); w.Code != http.StatusBadRequest {
		t.Errorf("a long body: %d, want 400", w.Code)
	}
}

// A token is taken from a file that others cannot read, and must not be short.
func TestReadToken(t *testing.T) {
	for _, c := range []struct {
		text string
		mode os.FileMode
		good bool
	}{
		{token + "\n", 0o600, true},
		{token, 0o400, true},
		{token, 0o440, true},
		{token, 0o644, false},
		{token, 0o604, false},
		{token, 0o660, false},
		{token[1:], 0o600, false},
		{"", 0o600, false},
		{strings.Repeat("x", longestToken), 0o600, true},
		{strings.Repeat("x", longestToken+1), 0o600, false},
	} {
		path := filepath.Join(t.TempDir(), "token")
		if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, c.mode); err != nil {
			t.Fatal(err)
		}
		got, err := ReadToken(path)
		if (err == nil) != c.good || c.good && got != strings.TrimSpace(c.text) {
			t.Errorf("%d bytes, mode %o: %q, %v", len(c.text), c.mode, got, err)
		}
		if err != nil && c.text != "" && strings.Contains(err.Error(), strings.TrimSpace(c.text)) {
			t.Errorf("the error has the token: %v", err)
		}
	}
	if _, err := ReadToken(t.TempDir()); err == nil {
		t.Error("a folder is a token")
	}
}
