// Package warden lets an ordinary user run an engine. The user's engine lives in
// namespaces of its own: of users, in which it is root over the ids that /etc/subuid and
// /etc/subgid give to the user; of mounts; and of networks, which pasta connects to the
// host's when it is there.
//
//	lighterd ──starts, waits for──> lighterd, in the namespaces ──starts──> keeper, containers
//	    │                                │
//	    └──"spaces?"──> warden <──"a socket of the host's?"
//
// The warden is a process of the user's outside of them (`lighter warden`). It makes the
// namespaces and holds them by descriptors, so that the next engine finds its containers'
// network as the last one left it. It also makes sockets in the host's network namespace and
// passes them on, by which an engine without pasta reaches registries, and listens on ports
// that are published. It ends when no engine is connected and nothing runs in the
// namespaces any more. When it is killed, the next engine starts another, which takes the
// namespaces over from any process in them.
package warden
