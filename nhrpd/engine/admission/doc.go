// Package admission decides from which peers the kernel takes data. An SA alone admits nobody: the
// kernel drops what comes from a peer that is not admitted. A peer is admitted if
//   - it is one of our NHSs,
//   - it is registered with us or has a static map,
//   - it answered a Resolution Request of ours, or
//   - we answered its Resolution Request, and the request came from one of our NHSs or clients. An
//     NHS or client vouches for a router by passing on its request.
//
// Whatever has a reason to admit a peer (an NHS, a binding, a shortcut or an answer) holds a
// [Reason] in the [Table] of its interface. The admission ends some seconds after the last reason,
// so that the kernel does not drop packets that are still in flight.
package admission
