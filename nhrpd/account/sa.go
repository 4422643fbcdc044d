package account

import (
	"cmp"
	"fmt"
	"time"

	"cygnet/nhrpd/api"
	"cygnet/nhrpd/wording"
)

// saLines has what the daemon, charon and the kernel know of the IPsec with a router.
func saLines(s *api.ExplainedSA, now time.Time) []string {
	var lines []string
	if s.State != "" {
		text := fmt.Sprintf("%s %s", s.State, lasting(s.Since, now))
		if s.Error != "" {
			text += ": " + s.Error
		}
		lines = append(lines, text)
	}
	return append(append(lines, charonLines(s, now)...), kernelLines(s, now)...)
}

// charonLines has the SAs that charon lists.
func charonLines(s *api.ExplainedSA, now time.Time) []string {
	var lines []string
	switch {
	case s.CharonError != "":
		lines = append(lines, "charon: "+s.CharonError)
	case len(s.Charon) == 0:
		lines = append(lines, "charon has no SA with "+placeOf(s))
	}
	for i := range s.Charon {
		sa := &s.Charon[i]
		lines = append(lines, fmt.Sprintf("charon: IKE_SA %d %s %s, %s, peer %s", sa.ID,
			sa.State, lasting(sa.Established, now), side(sa.Initiator),
			cmp.Or(sa.RemoteIdentity, "not proven yet")))
		for j := range sa.Children {
			c := &sa.Children[j]
			lines = append(lines, fmt.Sprintf("charon: CHILD_SA %d %s %s, %s in, %s out", c.ID,
				c.State, lasting(c.Installed, now),
				wording.Size(c.TotalIn), wording.Size(c.TotalOut)))
		}
	}
	return lines
}

// kernelLines has the ESP states that the kernel has.
func kernelLines(s *api.ExplainedSA, now time.Time) []string {
	switch {
	case s.KernelError != "":
		return []string{"kernel: " + s.KernelError}
	case len(s.Kernel) == 0:
		return []string{"the kernel has no ESP state with " + placeOf(s)}
	}
	var lines []string
	for _, e := range s.Kernel {
		way := "in"
		if e.Out {
			way = "out"
		}
		lines = append(lines, fmt.Sprintf("kernel: ESP %s %s %s, %s in %s", e.SPI, way,
			lasting(e.Added, now), wording.Size(e.Bytes), wording.Packets(e.Packets)))
	}
	return lines
}

// placeOf names the router of an SA.
func placeOf(s *api.ExplainedSA) string {
	if !s.NBMA.IsValid() {
		return fmt.Sprintf("mark %d", s.Mark)
	}
	return wording.At(s.NBMA, s.Mark).String()
}

// side says who initiated an IKE_SA.
func side(here bool) string {
	if here {
		return "initiated here"
	}
	return "initiated there"
}
