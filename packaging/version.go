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

var (
	release  = regexp.MustCompile(`^v?([0-9][0-9A-Za-z.]*)(?:-((?:alpha|beta|rc)[0-9A-Za-z.]*))?(?:-([0-9]+)-g([0-9a-f]+))?(-dirty)?$`)
	unnamed  = regexp.MustCompile(`^([0-9a-z]+)(-dirty)?$`)
	onlyHash = regexp.MustCompile(`^[0-9a-f]{7,40}(-dirty)?$`)
)

// packageVersion turns what git describe says into a version that dpkg and rpm both take and put in the right order: a
// pre-release before its release (1.2.3~rc1), later commits after it (1.2.3+4.gabcdef0), a tree without any release before all (0~abcdef0).
func packageVersion(described string) (string, error) {
	if m := release.FindStringSubmatch(described); m != nil && !onlyHash.MatchString(described) {
		version := m[1]
		if m[2] != "" {
			version += "~" + m[2]
		}
		var after []string
		if m[3] != "" {
			after = append(after, m[3], "g"+m[4])
		}
		if m[5] != "" {
			after = append(after, "dirty")
		}
		if len(after) > 0 {
			version += "+" + strings.Join(after, ".")
		}
		return version, nil
	}
	if m := unnamed.FindStringSubmatch(described); m != nil {
		return "0~" + m[1] + strings.Replace(m[2], "-", ".", 1), nil
	}
	return "", fmt.Errorf("-version %q: want what 'git describe --tags --always --dirty' says, such as v1.2.3, v1.2.3-rc1, v1.2.3-4-gabcdef0 or abcdef0", described)
}

// sourceTime is the time that everything in the packages has: SOURCE_DATE_EPOCH, or else the time of the last commit.
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
