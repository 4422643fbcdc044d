package main

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// version matches what the script describe prints. dpkg and rpm sort these versions in the order in
// which they were made: a pre-release (1.2.3~rc1) before its release, and builds after a release
// (1.2.3+git20261129.994cc37) after it, by day.
var version = regexp.MustCompile(
	`^[0-9]+(\.[0-9]+)*(~(alpha|beta|rc)[0-9]*)?(\+(git[0-9]{8}\.[0-9a-f]{7,40}(\.dirty)?|unknown))?$`)

// checkVersion returns an error if the version is not one that both package managers sort.
func checkVersion(v string) error {
	if !version.MatchString(v) {
		return fmt.Errorf("-version %q: want what packaging/describe prints, "+
			"such as 1.2.3, 1.2.3~rc1 or 1.2.3+git20261129.994cc37", v)
	}
	return nil
}

// sourceTime returns the time of everything in the packages: SOURCE_DATE_EPOCH, or else the time of
// the last commit.
func sourceTime(root string) (time.Time, error) {
	seconds, ok := os.LookupEnv("SOURCE_DATE_EPOCH")
	if !ok {
		cmd := exec.Command("git", "log", "-1", "--format=%ct")
		cmd.Dir = root
		out, err := cmd.Output()
		if err != nil {
			return time.Time{}, fmt.Errorf("find the time of the last commit (set SOURCE_DATE_EPOCH where there is no git): %w", err)
		}
		seconds = strings.TrimSpace(string(out))
	}
	n, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil || n <= 0 {
		return time.Time{}, fmt.Errorf("SOURCE_DATE_EPOCH is %q: want seconds since 1970", seconds)
	}
	return time.Unix(n, 0).UTC(), nil
}
