package server

import (
	"net/http"
	"slices"
	"strings"

	"lighter/api"
)

// handler decodes a request, calls one method of the engine and encodes the answer.
// An error that it returns is the answer, and nothing may have been written before.
type handler func(w http.ResponseWriter, r *request) error

// route is one row of the table. In path, {name} stands for any text, slashes
// included, since names of images hold them; {id} for text without a slash.
type route struct {
	method string
	path   string
	handle handler
}

// routes is every route of the Engine API, in the order in which they are tried.
func (s *Server) routes() []route {
	return slices.Concat(s.systemRoutes(), s.containerRoutes(), s.imageRoutes(), s.networkRoutes(), s.volumeRoutes(),
		s.buildRoutes(), pluginRoutes, swarmRoutes)
}

func (s *Server) systemRoutes() []route {
	sys := &system{s: s}
	return []route{
		{"HEAD", "/_ping", sys.ping},
		{"GET", "/_ping", sys.ping},
		{"GET", "/version", sys.version},
		{"GET", "/info", sys.info},
		{"GET", "/events", sys.events},
		{"GET", "/system/df", sys.diskUsage},
		{"POST", "/auth", (&images{s: s}).login},
		{"POST", "/web/link", sys.webLink}, // no route of Docker's
	}
}

func (s *Server) containerRoutes() []route {
	con, exe, arc := &containers{s: s}, &execs{s: s}, &archives{s: s}
	return []route{
		{"GET", "/containers/json", con.list},
		{"POST", "/containers/create", con.create},
		{"POST", "/containers/prune", con.prune},
		{"GET", "/containers/{name}/json", con.inspect},
		{"GET", "/containers/{name}/top", con.top},
		{"GET", "/containers/{name}/logs", con.logs},
		{"GET", "/containers/{name}/changes", arc.changes},
		{"GET", "/containers/{name}/export", arc.export},
		{"GET", "/containers/{name}/stats", con.stats},
		{"GET", "/containers/{name}/attach/ws", con.attachWebSocket},
		{"HEAD", "/containers/{name}/archive", arc.stat},
		{"GET", "/containers/{name}/archive", arc.get},
		{"PUT", "/containers/{name}/archive", arc.put},
		{"POST", "/containers/{name}/archive", arc.lent}, // no route of Docker's
		{"POST", "/containers/{name}/start", con.start},
		{"POST", "/containers/{name}/stop", con.stop},
		{"POST", "/containers/{name}/restart", con.restart},
		{"POST", "/containers/{name}/kill", con.kill},
		{"POST", "/containers/{name}/pause", con.pause},
		{"POST", "/containers/{name}/unpause", con.unpause},
		{"POST", "/containers/{name}/wait", con.wait},
		{"POST", "/containers/{name}/resize", con.resize},
		{"POST", "/containers/{name}/attach", con.attach},
		{"POST", "/containers/{name}/rename", con.rename},
		{"POST", "/containers/{name}/update", con.update},
		{"POST", "/containers/{name}/exec", exe.create},
		{"DELETE", "/containers/{name}", con.remove},
		{"POST", "/commit", arc.commit},
		{"GET", "/diff", arc.compare}, // no route of Docker's
		{"GET", "/exec/{name}/json", exe.inspect},
		{"POST", "/exec/{name}/start", exe.start},
		{"POST", "/exec/{name}/resize", exe.resize},
	}
}

func (s *Server) imageRoutes() []route {
	img, arc := &images{s: s}, &archives{s: s}
	return []route{
		{"GET", "/images/json", img.list},
		{"GET", "/images/search", img.search},
		{"GET", "/images/get", img.save},
		{"POST", "/images/load", img.load},
		{"POST", "/images/create", img.create},
		{"POST", "/images/prune", img.prune},
		{"GET", "/images/{name}/get", img.save},
		{"GET", "/images/{name}/history", img.history},
		{"GET", "/images/{name}/json", img.inspect},
		{"HEAD", "/images/{name}/archive", arc.statImage}, // no route of Docker's
		{"GET", "/images/{name}/archive", arc.getImage},   // no route of Docker's
		{"POST", "/images/{name}/push", img.push},
		{"POST", "/images/{name}/tag", img.tag},
		{"DELETE", "/images/{name}", img.remove},
		{"GET", "/distribution/{name}/json", img.distribution},
	}
}

func (s *Server) networkRoutes() []route {
	net := &networks{s: s}
	return []route{
		{"GET", "/networks", net.list},
		{"GET", "/networks/", net.list},
		{"POST", "/networks/create", net.create},
		{"POST", "/networks/prune", net.prune},
		{"POST", "/networks/{name}/connect", net.connect},
		{"POST", "/networks/{name}/disconnect", net.disconnect},
		{"GET", "/networks/{name}", net.inspect},
		{"DELETE", "/networks/{name}", net.remove},
	}
}

func (s *Server) volumeRoutes() []route {
	vol := &volumes{s: s}
	return []route{
		{"GET", "/volumes", vol.list},
		{"POST", "/volumes/create", vol.create},
		{"POST", "/volumes/prune", vol.prune},
		{"GET", "/volumes/{name}", vol.inspect},
		{"PUT", "/volumes/{name}", vol.update},
		{"DELETE", "/volumes/{name}", vol.remove},
	}
}

var pluginRoutes = []route{
	{"GET", "/plugins", noPlugins},
	{"GET", "/plugins/privileges", noPluginSupport},
	{"GET", "/plugins/{name}/json", noPlugin},
	{"POST", "/plugins/pull", noPluginSupport},
	{"POST", "/plugins/create", noPluginSupport},
	{"POST", "/plugins/{name}/enable", noPlugin},
	{"POST", "/plugins/{name}/disable", noPlugin},
	{"POST", "/plugins/{name}/push", noPlugin},
	{"POST", "/plugins/{name}/upgrade", noPlugin},
	{"POST", "/plugins/{name}/set", noPlugin},
	{"DELETE", "/plugins/{name}", noPlugin},
}

var swarmRoutes = []route{
	{"GET", "/swarm", noSwarm},
	{"POST", "/swarm/init", noSwarmSupport},
	{"POST", "/swarm/join", noSwarmSupport},
	{"POST", "/swarm/leave", inNoSwarm},
	{"POST", "/swarm/update", noSwarm},
	{"GET", "/swarm/unlockkey", noSwarm},
	{"POST", "/swarm/unlock", noSwarm},
	{"GET", "/services", noSwarm},
	{"POST", "/services/create", noSwarm},
	{"GET", "/services/{id}", noSwarm},
	{"GET", "/services/{id}/logs", noSwarm},
	{"POST", "/services/{id}/update", noSwarm},
	{"DELETE", "/services/{id}", noSwarm},
	{"GET", "/tasks", noSwarm},
	{"GET", "/tasks/{id}", noSwarm},
	{"GET", "/tasks/{id}/logs", noSwarm},
	{"GET", "/nodes", noSwarm},
	{"GET", "/nodes/{id}", noSwarm},
	{"POST", "/nodes/{id}/update", noSwarm},
	{"DELETE", "/nodes/{id}", noSwarm},
	{"GET", "/secrets", noSwarm},
	{"POST", "/secrets/create", noSwarm},
	{"GET", "/secrets/{id}", noSwarm},
	{"POST", "/secrets/{id}/update", noSwarm},
	{"DELETE", "/secrets/{id}", noSwarm},
	{"GET", "/configs", noSwarm},
	{"POST", "/configs/create", noSwarm},
	{"GET", "/configs/{id}", noSwarm},
	{"POST", "/configs/{id}/update", noSwarm},
	{"DELETE", "/configs/{id}", noSwarm},
}

// match reports whether a path is the route's, and what its {…} stands for.
func (r route) match(path string) (string, bool) {
	head, rest, open := strings.Cut(r.path, "{")
	if !open {
		return "", path == r.path
	}
	kind, tail, _ := strings.Cut(rest, "}")
	name, ok := strings.CutPrefix(path, head)
	if !ok {
		return "", false
	}
	if name, ok = strings.CutSuffix(name, tail); !ok || name == "" {
		return "", false
	}
	if kind == "id" && strings.Contains(name, "/") {
		return "", false
	}
	return name, true
}

func notBuilt(what string) error {
	return api.Errorf(api.NotImplemented, "%s is not built in lighter %s", what, api.Release)
}

func options(w http.ResponseWriter, _ *request) error {
	w.WriteHeader(http.StatusOK)
	return nil
}

// noSwarm answers as an engine that is in no swarm. There is none in lighter.
func noSwarm(http.ResponseWriter, *request) error {
	return api.Errorf(api.Unavailable, `This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm and try again.`)
}

func inNoSwarm(http.ResponseWriter, *request) error {
	return api.Errorf(api.Unavailable, "This node is not part of a swarm")
}

func noSwarmSupport(http.ResponseWriter, *request) error {
	return api.Errorf(api.Unavailable, "lighter has no swarm mode: an engine stands for itself alone")
}

func noPlugins(w http.ResponseWriter, _ *request) error {
	return writeJSON(w, http.StatusOK, []struct{}{})
}

func noPlugin(_ http.ResponseWriter, r *request) error {
	return api.Errorf(api.NotFound, "plugin %q not found", r.name)
}

func noPluginSupport(http.ResponseWriter, *request) error {
	return api.Errorf(api.NotImplemented, "lighter runs no plugins")
}
