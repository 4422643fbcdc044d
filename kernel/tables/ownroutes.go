package tables

import (
	"fmt"

	"cygnet/kernel/rtnl"
)

// OwnRoutes reads the routes with the protocol number rtnl.Protocol that the kernel has now. It
// reads all tables, and keeps the kernel's order.
func OwnRoutes() ([]rtnl.Route, error) {
	r, err := rtnl.Open()
	if err != nil {
		return nil, fmt.Errorf("read our routes: %w", err)
	}
	defer r.Close()
	links, err := r.Links()
	if err != nil {
		return nil, fmt.Errorf("read our routes: %w", err)
	}
	routes, err := r.OwnRoutes(links)
	if err != nil {
		return nil, fmt.Errorf("read our routes: %w", err)
	}
	return routes, nil
}
