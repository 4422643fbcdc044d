// Package admission decides from which peers the kernel takes data. An SA alone admits nobody: the
// kernel drops what comes from a peer that is not admitted.
//
// Whoever has a reason to admit a peer (an NHS, a binding, a shortcut or an answer) holds a
// [Reason] in the [Table] of its interface. The last reason's end ends the admission some seconds
// later, so that packets still in flight are not dropped.
package admission
