// Command demo shows how a hub and two spokes become an encrypted mesh, step by step with times, on
// the kernel that test/uml/run or test/host/run provides. It reads everything that it prints from
// the kernel's tables, from charon and from captures. The exit code is 0 only if every step
// succeeded.
package main

import (
	"flag"
	"fmt"
	"os"

	"cygnet/test/lab"
)

func main() {
	keep := flag.Bool("keep", false, "leave the mesh running at the end, to look around")
	flag.Parse()
	os.Exit(run(*keep))
}

func run(keep bool) int {
	s := newStory()
	good := s.tell(func() {
		m := build(s)
		secure(s, m)
		forward(s, m)
		end(s, m)
		finish(s, m)
		if keep {
			leaveRunning(m)
		}
	})
	s.cleanUp()
	if !good {
		fmt.Println("\nThe demo failed.")
		return 1
	}
	fmt.Println("\nEvery step succeeded.")
	return 0
}

// build creates the network and starts everything in it.
func build(s *story) *lab.Mesh {
	s.chapter("A hub and two spokes on an underlay, each with a LAN, its own stock strongSwan and its own cygnetd")
	m := lab.NewMesh(s)
	m.Add(`idle_time = "` + idleTime + `"`)
	for _, site := range m.Sites() {
		s.say("%-7s NBMA %-11s overlay %-12s LAN %s",
			site.Name, site.Public, site.Overlay, site.LAN)
	}
	m.Start()
	s.say("charon and cygnetd run on all three; a block policy lets no GRE out or in without ESP")
	return m
}
