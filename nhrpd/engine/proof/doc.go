// Package proof proves the direct paths to other routers before data takes them, and watches them
// while data does. An SA alone proves little: IKE has ports of its own, so a firewall may drop ESP
// where IKE passes, one direction may be lost, or packets of full size.
//
// # Probes
//
// A probe is a Resolution Request for the other router's own overlay address (RFC 2332 §5.2.1),
// sent straight to that router through the tunnel, with a vendor-private extension (RFC 2332
// §5.3.5) that says so. The other router replies along the same path and remembers nothing. One
// probe of a series is as small as it can be, another fills the tunnel's MTU, and each reply is as
// long as its request. The series ends when all probes are answered, or when each was sent
// probeTries times. NHRP does not count as use of a path.
//
// Only routers that said so get probes: the requester of a shortcut offers them in its Resolution
// Request, and the responder accepts in its reply. Routers of other vendors copy or ignore the
// offer. The paths to them stay unproven, and are used unless the configuration wants proof.
//
// # States of a path
//
//	              probes answered
//	unproven ──────────────────────────> proven <──┐
//	    │                                 │  │     │ the cool-down is over, and
//	    │        large ones lost          │  │     │ probes are answered
//	    ├───────────────────> small <─────┘  │     │
//	    │                       │            │     │
//	    └───────────────────────┴────────────┴──> failed
//	                no probe answered
//
// Whether the state small exists, or counts as failed, is the configuration's choice. A path whose
// data goes out while nothing comes back is probed. A path in use loses its state only by two
// series in a row without a long answer, so that loss by chance does not count as a small path. A
// failed path is left alone for a cool-down, which doubles with each failure.
package proof
