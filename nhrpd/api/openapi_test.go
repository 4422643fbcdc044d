package api

import (
	"bytes"
	"cmp"
	"encoding/json"
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write doc/openapi.json anew")

// object is a JSON object.
type object = map[string]any

// doc/openapi.json describes each endpoint and each field, with what the source says of it. With
// -update the test writes the file.
func TestOpenAPI(t *testing.T) {
	const path = "../../doc/openapi.json"
	g := &describer{said: commentsOf(t), schemas: object{}}
	paths := object{}
	for at, e := range endpoints {
		paths[at] = object{strings.ToLower(e.allowed()): g.operation(e)}
	}
	g.schema(reflect.TypeFor[Failure]())
	var got bytes.Buffer
	out := json.NewEncoder(&got)
	out.SetEscapeHTML(false)
	out.SetIndent("", "  ")
	if err := out.Encode(object{
		"openapi": "3.1.0",
		"info": object{
			"title":   "cygnetd",
			"version": "1",
			"license": object{"name": "Apache-2.0", "identifier": "Apache-2.0"},
			"description": "The API of cygnetd, on a unix socket: see doc/api.md. Later versions " +
				"may add fields.",
		},
		"paths":      paths,
		"components": object{"schemas": g.schemas},
	}); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(path, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("go test ./nhrpd/api -update writes it anew; want (-), got (+):\n%s", diff)
	}
	if strings.Contains(got.String(), `"description": ""`) {
		t.Error("a type or a field has no description")
	}
}

// doc/api.md lists each endpoint with its method.
func TestEndpointsAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../../doc/api.md")
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| (GET|POST) \\| `([^`]+)` \\|").
		FindAllStringSubmatch(string(text), -1) {
		got[m[2]] = m[1]
	}
	want := map[string]string{}
	for at, e := range endpoints {
		want[at] = e.allowed()
	}
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("want (-), in doc/api.md (+):\n%s", diff)
	}
}

// describer makes the schemas of Go types.
type describer struct {
	said    map[string]string // what the source says of "Type" and "Type.Field"
	schemas object
}

// operation describes an endpoint.
func (g *describer) operation(e *endpoint) object {
	failure := object{"description": "It failed.", "content": object{
		"application/json": object{"schema": g.schema(reflect.TypeFor[Failure]())}}}
	success := object{"description": "Done."}
	code := "204"
	if e.answer != nil {
		code = "200"
		media := [...]string{asJSON: "application/json", asLines: "application/x-ndjson",
			asText: "text/plain"}[e.form]
		success["content"] = object{media: object{"schema": g.schema(e.answer)}}
	}
	op := object{"summary": e.summary, "responses": object{code: success, "default": failure}}
	if e.request != nil {
		op["requestBody"] = object{"required": true, "content": object{
			"application/json": object{"schema": g.schema(e.request)}}}
	}
	var parameters []object
	for _, p := range e.query {
		parameters = append(parameters, object{"name": p.name, "in": "query",
			"description": p.summary, "required": p.required, "schema": object{"type": "string"}})
	}
	if parameters != nil {
		op["parameters"] = parameters
	}
	return op
}

// schema describes a type. Structs are described once, by their name.
func (g *describer) schema(of reflect.Type) object {
	switch of {
	case reflect.TypeFor[time.Time]():
		return object{"type": "string", "format": "date-time"}
	case reflect.TypeFor[netip.Addr](), reflect.TypeFor[netip.Prefix]():
		return object{"type": "string"}
	case reflect.TypeFor[[]byte]():
		return object{"type": "string", "contentEncoding": "base64"}
	}
	switch of.Kind() {
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.String:
		return object{"type": "string"}
	case reflect.Float64:
		return object{"type": "number"}
	case reflect.Pointer:
		return g.schema(of.Elem())
	case reflect.Slice:
		return object{"type": "array", "items": g.schema(of.Elem())}
	case reflect.Map:
		return object{"type": "object", "additionalProperties": g.schema(of.Elem())}
	case reflect.Struct:
		if g.schemas[of.Name()] == nil {
			g.schemas[of.Name()] = object{} // it may contain itself
			g.schemas[of.Name()] = g.object(of)
		}
		return object{"$ref": "#/components/schemas/" + of.Name()}
	}
	return object{"type": "integer"} // all other kinds are integers
}

// object describes a struct.
func (g *describer) object(of reflect.Type) object {
	fields, required := object{}, []string{}
	for i := range of.NumField() {
		f := of.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		schema := g.schema(f.Type)
		if text := g.said[of.Name()+"."+f.Name]; text != "" {
			schema["description"] = text
		}
		fields[name] = schema
		if options == "" {
			required = append(required, name)
		}
	}
	return object{"type": "object", "description": g.said[of.Name()], "properties": fields,
		"required": required}
}

// commentsOf returns what this package's files say of its types and their fields.
func commentsOf(t *testing.T) map[string]string {
	t.Helper()
	said := map[string]string{}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			decl, ok := d.(*ast.GenDecl)
			if !ok || decl.Tok != token.TYPE {
				continue
			}
			for _, s := range decl.Specs {
				spec := s.(*ast.TypeSpec)
				said[spec.Name.Name] = oneLine(cmp.Or(spec.Doc, decl.Doc))
				structure, ok := spec.Type.(*ast.StructType)
				if !ok {
					continue
				}
				for _, f := range structure.Fields.List {
					for _, n := range f.Names {
						said[spec.Name.Name+"."+n.Name] = oneLine(cmp.Or(f.Doc, f.Comment))
					}
				}
			}
		}
	}
	if len(slices.Collect(maps.Keys(said))) < 50 {
		t.Fatalf("only %d comments found", len(said))
	}
	return said
}

// oneLine returns a comment as one line.
func oneLine(c *ast.CommentGroup) string {
	if c == nil {
		return ""
	}
	return strings.Join(strings.Fields(c.Text()), " ")
}
