// Package translate turns what one part of the daemon has into what another one takes: the
// configuration into that of the engine, of the tunnel and of IPsec, and what strongSwan and the
// kernel report into the engine's events.
//
// Those parts do not know each other, so each has types of its own. All functions are pure: they
// depend on their arguments alone, change nothing, and may be called from any goroutine.
package translate

import (
	"cygnet/nhrpd/config"
	"cygnet/nhrpd/engine"
)

// EngineConfig returns the part of the configuration that the engine decides by.
func EngineConfig(c *config.Config) engine.Config {
	var out engine.Config
	for i := range c.Interfaces {
		out.Interfaces = append(out.Interfaces, EngineInterface(&c.Interfaces[i]))
	}
	return out
}

// EngineInterface returns what the engine has to know of an interface.
func EngineInterface(c *config.Interface) engine.InterfaceConfig {
	out := engine.InterfaceConfig{
		Name:           c.Name,
		Address:        c.Address,
		Overlay:        c.Overlay,
		Second:         engine.Family(c.Second),
		Table:          c.Table,
		Metric:         c.Metric,
		HostTable:      engine.HostTable{Table: c.HostTable, Rule: c.HostRule},
		Protected:      c.Protected,
		HoldingTime:    c.HoldingTime,
		IdleTime:       c.IdleTime,
		Authentication: string(c.Authentication),
		MTU:            uint16(c.MTU),
		Unique:         c.Unique,
		Shortcut:       c.Shortcut,
		Redirect:       c.Redirect,
		Server:         c.Server,
		Announce:       c.Announce,
		Accept:         c.Accept,
		Policy:         c.Policy,
		Authorizer:     engine.Authorizer(c.Authorize),
		NameAttributes: c.NameAttributes(),
		Limits:         engineLimits(c.Limits),
		MaxConnections: c.MaxConnections,
		FallbackDelay:  c.FallbackDelay,
		Paths:          engine.Paths(c.Paths),
		Multicast: engine.Multicast{
			NHSs:    c.Multicast.NHSs,
			Clients: c.Multicast.Clients,
			Routers: c.Multicast.Routers,
		},
	}
	for _, nhs := range c.NHS {
		out.NHS = append(out.NHS, engine.NHSConfig{
			Name:     nhs.NBMA,
			Protocol: nhs.Protocol,
			Second:   nhs.Second,
			Priority: nhs.Priority,
			Cluster:  nhs.Cluster,
		})
	}
	for _, m := range c.Maps {
		out.Maps = append(out.Maps, engine.Map(m))
	}
	return out
}

// engineLimits returns the limits that the engine keeps. Package vici keeps the remaining one, SAs.
func engineLimits(l config.Limits) engine.Limits {
	return engine.Limits{
		Bindings:    l.Bindings,
		Prefixes:    l.Prefixes,
		Shortcuts:   l.Shortcuts,
		Answers:     l.Answers,
		Held:        l.Held,
		Indications: l.Indications,
		Errors:      l.Errors,
		Requests:    l.Requests,
		Transit:     l.Transit,
	}
}
