package tables

import (
	"fmt"
	"slices"

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

// OwnPins reads the rules that Pin keeps and that the kernel has now, also those of an earlier run.
func OwnPins() ([]rtnl.Rule, error) {
	r, err := rtnl.Open()
	if err != nil {
		return nil, fmt.Errorf("read our rules: %w", err)
	}
	defer r.Close()
	rules, _, err := r.Rules()
	if err != nil {
		return nil, fmt.Errorf("read our rules: %w", err)
	}
	return slices.DeleteFunc(rules, func(r rtnl.Rule) bool { return !r.From.IsValid() }), nil
}
