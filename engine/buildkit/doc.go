// Package buildkit speaks BuildKit's own protocol, so that docker build, buildx, bake and compose drive
// our builder unchanged. The client opens two connections: on one it calls us (control.go, and while its own
// front end runs there, gateway.go); on the other, its session, we call it: for files, secrets, its ssh agent,
// log-ins, and with what it wants written on its side (session.go).
//
// It builds nothing: each call is turned into one of engine/build's. It gets connections and knows no HTTP.
//
// Sources: BuildKit's api/services/control/control.proto, frontend/gateway/pb/gateway.proto, session/*/*.proto.
package buildkit
