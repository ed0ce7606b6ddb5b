package server

import (
	"slices"

	"lighter/policy"
)

// What a route's {name} is, where a policy has to know it.
const (
	aContainer = "container"
	anExec     = "exec"
	aNetwork   = "network"
	aVolume    = "volume"
)

// rule is what a route is to a policy and to the audit log. The zero is for those that have none: nobody
// but who may all by `route` gets there.
type rule struct {
	kind   string
	about  string // what {name} is, empty where it is nothing that can be somebody's
	enters bool   // the client gets into the container, or at its files, with what that has of the host
	names  bool   // it makes or removes what others name
	named  bool   // it uses by name what others make and remove
	quiet  bool   // it changes nothing
}

// free is the kind of what everybody may ask who can connect at all: Docker's clients begin with it.
const free = "free"

// rules has a row for each route of the table. What the bodies ask for is judged where they are
// decoded, by grant (grant.go).
var rules = map[string]rule{
	"HEAD /_ping":    {kind: free, quiet: true},
	"GET /_ping":     {kind: free, quiet: true},
	"GET /version":   {kind: policy.Look, quiet: true},
	"GET /info":      {kind: policy.Look, quiet: true},
	"GET /events":    {kind: policy.Look, quiet: true},
	"GET /system/df": {kind: policy.Look, quiet: true},
	"POST /auth":     {kind: policy.Pull, quiet: true},
	"POST /web/link": {kind: policy.Run},

	"GET /containers/json":             {kind: policy.Look, quiet: true},
	"POST /containers/create":          {kind: policy.Run, named: true},
	"POST /containers/prune":           {kind: policy.Run},
	"GET /containers/{name}/json":      {kind: policy.Look, about: aContainer, quiet: true},
	"GET /containers/{name}/top":       {kind: policy.Look, about: aContainer, quiet: true},
	"GET /containers/{name}/logs":      {kind: policy.Look, about: aContainer, quiet: true},
	"GET /containers/{name}/changes":   {kind: policy.Files, about: aContainer, quiet: true},
	"GET /containers/{name}/export":    {kind: policy.Files, about: aContainer, enters: true, quiet: true},
	"GET /containers/{name}/stats":     {kind: policy.Look, about: aContainer, quiet: true},
	"GET /containers/{name}/attach/ws": {kind: policy.Run, about: aContainer, enters: true},
	"HEAD /containers/{name}/archive":  {kind: policy.Files, about: aContainer, enters: true, quiet: true},
	"GET /containers/{name}/archive":   {kind: policy.Files, about: aContainer, enters: true, quiet: true},
	"PUT /containers/{name}/archive":   {kind: policy.Files, about: aContainer, enters: true},
	"POST /containers/{name}/archive":  {kind: policy.Files, about: aContainer, enters: true},
	"POST /containers/{name}/start":    {kind: policy.Run, about: aContainer, named: true},
	"POST /containers/{name}/stop":     {kind: policy.Run, about: aContainer},
	"POST /containers/{name}/restart":  {kind: policy.Run, about: aContainer},
	"POST /containers/{name}/kill":     {kind: policy.Run, about: aContainer},
	"POST /containers/{name}/pause":    {kind: policy.Run, about: aContainer},
	"POST /containers/{name}/unpause":  {kind: policy.Run, about: aContainer},
	"POST /containers/{name}/wait":     {kind: policy.Look, about: aContainer, quiet: true},
	"POST /containers/{name}/resize":   {kind: policy.Run, about: aContainer},
	"POST /containers/{name}/attach":   {kind: policy.Run, about: aContainer, enters: true},
	"POST /containers/{name}/rename":   {kind: policy.Run, about: aContainer},
	"POST /containers/{name}/update":   {kind: policy.Run, about: aContainer, enters: true, named: true},
	"POST /containers/{name}/exec":     {kind: policy.Run, about: aContainer, enters: true},
	"DELETE /containers/{name}":        {kind: policy.Run, about: aContainer},
	"POST /commit":                     {kind: policy.Images},
	"GET /diff":                        {kind: policy.Files, quiet: true},
	"GET /exec/{name}/json":            {kind: policy.Look, about: anExec, quiet: true},
	"POST /exec/{name}/start":          {kind: policy.Run, about: anExec, enters: true},
	"POST /exec/{name}/resize":         {kind: policy.Run, about: anExec},

	"GET /images/json":              {kind: policy.Look, quiet: true},
	"GET /images/search":            {kind: policy.Pull, quiet: true},
	"GET /images/get":               {kind: policy.Images, quiet: true},
	"POST /images/load":             {kind: policy.Images},
	"POST /images/create":           {kind: policy.Pull},
	"POST /images/prune":            {kind: policy.Images},
	"GET /images/{name}/get":        {kind: policy.Images, quiet: true},
	"GET /images/{name}/history":    {kind: policy.Look, quiet: true},
	"GET /images/{name}/json":       {kind: policy.Look, quiet: true},
	"HEAD /images/{name}/archive":   {kind: policy.Files, quiet: true},
	"GET /images/{name}/archive":    {kind: policy.Files, quiet: true},
	"POST /images/{name}/push":      {kind: policy.Push},
	"POST /images/{name}/tag":       {kind: policy.Images},
	"DELETE /images/{name}":         {kind: policy.Images},
	"GET /distribution/{name}/json": {kind: policy.Pull, quiet: true},

	"GET /networks":                    {kind: policy.Look, quiet: true},
	"GET /networks/":                   {kind: policy.Look, quiet: true},
	"POST /networks/create":            {kind: policy.Networks, names: true},
	"POST /networks/prune":             {kind: policy.Networks, names: true},
	"POST /networks/{name}/connect":    {kind: policy.Networks, about: aNetwork, named: true},
	"POST /networks/{name}/disconnect": {kind: policy.Networks, about: aNetwork},
	"GET /networks/{name}":             {kind: policy.Look, about: aNetwork, quiet: true},
	"DELETE /networks/{name}":          {kind: policy.Networks, about: aNetwork, names: true},

	"GET /volumes":           {kind: policy.Look, quiet: true},
	"POST /volumes/create":   {kind: policy.Volumes, names: true},
	"POST /volumes/prune":    {kind: policy.Volumes, names: true},
	"GET /volumes/{name}":    {kind: policy.Look, about: aVolume, quiet: true},
	"PUT /volumes/{name}":    {kind: policy.Volumes, about: aVolume, names: true},
	"DELETE /volumes/{name}": {kind: policy.Volumes, about: aVolume, names: true},

	"POST /build":           {kind: policy.Build},
	"POST /build/prune":     {kind: policy.Build},
	"POST /build/cancel":    {kind: policy.Build},
	"POST /builds":          {kind: policy.Build},
	"POST /builds/contexts": {kind: policy.Build},
	"GET /builds/step":      {kind: policy.Build},
	"GET /builds/{name}":    {kind: policy.Build, quiet: true},
	"POST /session":         {kind: policy.Build},
	"POST /grpc":            {kind: policy.Build},
}

// of gives a route's rule. What there is nothing behind, plugins and swarms, says so to who may look.
func (r route) rule() rule {
	if known, ok := rules[r.String()]; ok {
		return known
	}
	about := func(list []route) bool {
		return slices.ContainsFunc(list, func(o route) bool { return o.String() == r.String() })
	}
	if about(pluginRoutes) || about(swarmRoutes) {
		return rule{kind: policy.Look, quiet: r.method == "GET"}
	}
	return rule{}
}

// String is how a policy names it.
func (r route) String() string { return r.method + " " + r.path }

// Routes lists the routes by which a policy may name them.
func Routes() (list []string) {
	for _, r := range New(Config{}).routes() {
		list = append(list, r.String())
	}
	return list
}
