package kernel

import "fmt"

// OwnRoutes reads the routes of this package's protocol number that the kernel has now, in all tables, in the kernel's order.
func OwnRoutes() ([]Route, error) {
	r, err := openRequests()
	if err != nil {
		return nil, fmt.Errorf("read our routes: %w", err)
	}
	defer r.close()
	links, err := r.dumpLinks()
	if err != nil {
		return nil, fmt.Errorf("read our routes: %w", err)
	}
	routes, err := r.dumpOwnRoutes(links)
	if err != nil {
		return nil, fmt.Errorf("read our routes: %w", err)
	}
	return routes, nil
}
