package main

import (
	"fmt"
	"net/netip"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cygnet/nhrpd/api"
	"cygnet/nhrpd/netcheck"
)

// written maps the objects' names in cygnet(1) to the types that commands write with --json. The
// test finds the types of their fields from here.
var written = map[string]reflect.Type{
	"status": reflect.TypeFor[api.Status](), "blocked": reflect.TypeFor[api.Blocked](),
	"block":   reflect.TypeFor[api.BlockRequest](),
	"unblock": reflect.TypeFor[api.UnblockRequest](), "leave": reflect.TypeFor[api.LeaveRequest](),
	"drain":   reflect.TypeFor[api.DrainRequest](),
	"reload":  reflect.TypeFor[api.Reloaded](),
	"log":     reflect.TypeFor[api.LogRequest](),
	"event":   reflect.TypeFor[api.Event](),
	"verdict": reflect.TypeFor[verdict](), "explanation": reflect.TypeFor[api.Explanation](),
	"pingresult": reflect.TypeFor[api.PingResult](), "cleared": reflect.TypeFor[api.Cleared](),
	"monitored": reflect.TypeFor[api.Monitored](), "reported": reflect.TypeFor[reported](),
	"netcheck": reflect.TypeFor[netcheck.Report](),
	"check":    reflect.TypeFor[checked](), "version": reflect.TypeFor[versions](),
}

// named has the objects that cygnet(1) calls differently than their type.
var named = map[string]string{"versioninfo": "program", "childsa": "child"}

// cygnet(1) describes every field of the JSON output with its type and in its order. It describes
// no other fields.
func TestManPageHasEveryJSONField(t *testing.T) {
	want := map[string][]string{}
	for name, of := range written {
		describe(want, name, of)
	}
	page, err := os.ReadFile("../../packaging/man/cygnet.1")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(page), "\n.Sh JSON\n")
	section, _, _ = strings.Cut(section, "\n.Sh ")
	got := map[string][]string{}
	field := regexp.MustCompile(`(?m)^\.It Li (\S+) Pq (.*)\n[^.\n].{3}`)
	for _, object := range strings.Split(section, "\n.Ss ")[1:] {
		name, text, _ := strings.Cut(object, "\n")
		for _, m := range field.FindAllStringSubmatch(text, -1) {
			got[name] = append(got[name], m[1]+" "+m[2])
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("want (-), in the manual (+):\n%s", diff)
	}
}

// describe adds the fields of an object, and those of the objects in it.
func describe(objects map[string][]string, name string, of reflect.Type) {
	if objects[name] != nil {
		return
	}
	objects[name] = []string{}
	for i := range of.NumField() {
		key, options, _ := strings.Cut(of.Field(i).Tag.Get("json"), ",")
		line := key + " " + kindOf(objects, of.Field(i).Type)
		if options != "" {
			line += ", optional"
		}
		objects[name] = append(objects[name], line)
	}
}

// kindOf returns the manual's name for a type.
func kindOf(objects map[string][]string, of reflect.Type) string {
	switch of {
	case reflect.TypeFor[[]byte]():
		return "base64"
	case reflect.TypeFor[time.Time]():
		return "time"
	case reflect.TypeFor[netip.Addr]():
		return "address"
	case reflect.TypeFor[netip.Prefix]():
		return "prefix"
	}
	switch of.Kind() {
	case reflect.String:
		return "string"
	case reflect.Bool:
		return "boolean"
	case reflect.Int, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64,
		reflect.Float64:
		return "number"
	case reflect.Pointer:
		return kindOf(objects, of.Elem())
	case reflect.Slice:
		switch one := kindOf(objects, of.Elem()); one {
		case "prefix", "address":
			return "list of " + one + "es"
		default:
			return "list of " + one + "s"
		}
	case reflect.Map:
		return "object of " + kindOf(objects, of.Elem()) + "s"
	case reflect.Struct:
		name := strings.ToLower(of.Name())
		if other, ok := named[name]; ok {
			name = other
		}
		describe(objects, name, of)
		return name + " object"
	}
	panic(fmt.Sprintf("no word for %s", of))
}
