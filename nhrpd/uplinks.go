package nhrpd

import (
	"net/netip"
	"slices"
	"strconv"

	"cygnet/nhrpd/api"
	"cygnet/nhrpd/config"
	"cygnet/nhrpd/translate"
	"cygnet/nhrpd/uplink"
)

// hubsKnown is what an interface's uplinks were last told of the hubs.
type hubsKnown struct {
	usable bool
	nbma   []netip.Addr
}

// followUplinks makes the choice between the interface's underlay devices, if it has several, and
// returns what goes on choosing, or nil. It makes the first choice before it returns, so that the
// tunnel sends from the right device from the start.
func (r *runner) followUplinks() *uplink.Follower {
	devices := append([]string{r.config.Underlay.Device}, r.config.Reserve...)
	for i := len(devices); i <= config.MaxReserve; i++ { // those of an earlier configuration
		r.pinUplink(i, uplink.Addresses{})
	}
	if len(r.config.Reserve) == 0 {
		r.pinUplink(0, uplink.Addresses{})
		return nil
	}
	cfg := uplink.Config{
		Devices: devices,
		Warm:    r.config.WarmReserve,
		Return:  r.config.UnderlayReturn,
	}
	local := r.platform.TunnelLocal(r.config.Name)
	return uplink.New(cfg, r.platform.Uplinks, r.log, local, func(u uplink.Use) {
		for i, addrs := range u.Addresses { // before the tunnel: see moved
			r.pinUplink(i, addrs)
		}
		if u.Device != "" {
			r.tunnel.SendFrom(u.Device)
		}
	})
}

// uplinkOwners names the owners of the rules for one of an interface's uplinks: that of IPv4, and
// that of IPv6.
func uplinkOwners(iface string, i int) (v4, v6 string) {
	name := iface + " uplink " + strconv.Itoa(i)
	return ruleOwner(name, 0), ruleOwner(name, 1)
}

// pinUplink has the kernel keep the rules for an uplink's addresses.
func (r *runner) pinUplink(i int, addrs uplink.Addresses) {
	v4, v6 := uplinkOwners(r.config.Name, i)
	r.tables.Pin(v4, translate.UplinkRule(&r.config, i, addrs.V4))
	r.tables.Pin(v6, translate.UplinkRule(&r.config, i, addrs.V6))
}

// tellUplinks tells the uplinks of each interface whether an NHS is usable, and where the NHSs are.
func (l *loop) tellUplinks() {
	for i := range l.opened() {
		f := i.runner.uplinks.Load()
		if f == nil {
			continue
		}
		now := hubsKnown{l.engine.AnyUsableNHS(i.name), l.engine.NHSAddresses(i.name)}
		if now.usable != i.hubs.usable || !slices.Equal(now.nbma, i.hubs.nbma) {
			i.hubs = now
			f.SetHubs(now.usable, now.nbma)
		}
	}
}

// uplinkStatus returns what the API shows of the interface's uplinks, or nil if there is one only.
func (i *iface) uplinkStatus() *api.Uplinks {
	f := i.runner.uplinks.Load()
	if f == nil {
		return nil
	}
	st := f.Status()
	out := &api.Uplinks{Since: st.Since, Reason: st.Reason}
	for _, u := range st.Uplinks {
		out.Devices = append(out.Devices, api.Uplink(u))
	}
	return out
}
