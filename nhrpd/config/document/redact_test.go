package document

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What is shown has the keys that are known, and no secret: not in a key for one, in a mistyped
// key, in a table where a value belongs, or in a comment.
func TestWithoutSecrets(t *testing.T) {
	got, err := WithoutSecrets([]byte(`
word = "hello" # s3cret
number = 7
words = ["a", "b"]
password = "s3cret"
pasword = "s3cret"
switch = { password = "s3cret" }
free = { mobike = "no", deep = { x = "y" } }
[table]
name = "n"
secret = "s3cret"
deep = "s3cret"
[optional]
nam = "s3cret"
[tables.a]
secret = 5
deep = { depth = 4, dept = "s3cret" }
[tables]
b = "s3cret"
[[list]]
secret = ["s3cret"]
name = "first"
`), &settings{})
	if err != nil {
		t.Fatal(err)
	}
	const want = `number = 7
password = "(secret)"
pasword = "(not shown: the key is not known)"
switch = "(not shown: the key is not known)"
word = "hello"
words = ["a", "b"]

[free]
  mobike = "no"
  [free.deep]
    x = "y"

[[list]]
  name = "first"
  secret = "(secret)"

[optional]
  nam = "(not shown: the key is not known)"

[table]
  deep = "(not shown: the key is not known)"
  name = "n"
  secret = "(secret)"

[tables]
  b = "(not shown: the key is not known)"
  [tables.a]
    secret = "(secret)"
    [tables.a.deep]
      dept = "(not shown: the key is not known)"
      depth = 4
`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("want (-), got (+):\n%s", diff)
	}
	if _, err := WithoutSecrets([]byte("password = s3cret"), &settings{}); err == nil ||
		strings.Contains(err.Error(), "s3cret") {
		t.Errorf("got %v", err)
	}
}
