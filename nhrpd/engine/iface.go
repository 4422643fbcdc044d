package engine

import (
	"cygnet/nhrpd/engine/admission"
	"cygnet/nhrpd/engine/authorization"
	"cygnet/nhrpd/engine/client"
	"cygnet/nhrpd/engine/inquiry"
	"cygnet/nhrpd/engine/mismatch"
	"cygnet/nhrpd/engine/multicast"
	"cygnet/nhrpd/engine/neighbors"
	"cygnet/nhrpd/engine/overlay"
	"cygnet/nhrpd/engine/peers"
	"cygnet/nhrpd/engine/prefixes"
	"cygnet/nhrpd/engine/proof"
	"cygnet/nhrpd/engine/purge"
	"cygnet/nhrpd/engine/resolution"
	"cygnet/nhrpd/engine/server"
	"cygnet/nhrpd/engine/timers"
)

// iface is one interface with its parts.
type iface struct {
	*overlay.Interface

	engine *Engine

	grace timers.Timer // ends what was restored and has not been confirmed

	peers      peers.Table
	neighbors  neighbors.Table
	admissions admission.Table
	prefixes   prefixes.Rules
	server     server.Server
	client     client.Client
	purges     purge.Table
	*resolution.Resolution
	mismatches mismatch.Table
	inquiries  inquiry.Table
	receivers  multicast.Table
	proofs     proof.Table

	// deregistrations are the goodbyes to the NHSs, which go last when the interface leaves.
	deregistrations []*purge.Request
}

// newInterface returns an interface with its first configuration and no other state.
func (e *Engine) newInterface(cfg overlay.InterfaceConfig) *iface {
	clients := cfg.ExpectedClients()
	ifc := &iface{engine: e}
	st := overlay.NewInterface(e.router, &ifc.peers)
	ifc.Interface = st
	above := upward{ifc}
	ifc.peers = peers.New(st, above, clients)
	ifc.neighbors = neighbors.New(st, &ifc.peers, above, clients)
	ifc.receivers = multicast.New(st, &ifc.neighbors)
	ifc.admissions = admission.New(st, &ifc.peers, clients)
	ifc.prefixes = prefixes.New(st, func(yield func(prefixes.Keeper) bool) {
		for _, other := range e.interfaces() {
			if !yield(upward{other}) {
				return
			}
		}
	})
	ifc.purges = purge.New(st, &ifc.peers, &ifc.neighbors, above)
	ifc.server = server.New(server.Needs{
		Interface: st, Peers: &ifc.peers, Neighbors: &ifc.neighbors, Admissions: &ifc.admissions,
		Purges: &ifc.purges, Client: &ifc.client, Prefixes: &ifc.prefixes,
		Mismatches: &ifc.mismatches, Inquiries: &ifc.inquiries, Parts: above,
	}, clients)
	ifc.client = client.New(client.Needs{
		Interface: st, Peers: &ifc.peers, Neighbors: &ifc.neighbors, Admissions: &ifc.admissions,
		Purges: &ifc.purges, Prefixes: &ifc.prefixes, Parts: above,
	})
	ifc.proofs = proof.New(st, &ifc.peers, above)
	ifc.Resolution = resolution.New(resolution.Needs{
		Interface: st, Peers: &ifc.peers, Neighbors: &ifc.neighbors,
		Admissions: &ifc.admissions, Purges: &ifc.purges, Prefixes: &ifc.prefixes,
		Server: &ifc.server, Client: &ifc.client, Proofs: &ifc.proofs,
	})
	ifc.mismatches = mismatch.New(st)
	ifc.inquiries = inquiry.New(st, above)
	ifc.grace.Run = func() { ifc.endUnconfirmed() }
	ifc.configure(cfg)
	ifc.joinGroup(cfg.SAGroup)
	return ifc
}

// configure sets the configuration, and what is derived from it without changing any other state.
func (ifc *iface) configure(cfg overlay.InterfaceConfig) {
	ifc.Interface.Configure(cfg)
	ifc.peers.Rules.Configure(authorization.Config{
		Protected:      cfg.Protected,
		NameAttributes: cfg.NameAttributes,
		Policy:         cfg.Policy,
		MostRemembered: cfg.Limits.Bindings + overlay.SpareKeys,
	})
}
