package server

// execs answers for programs run in running containers.
type execs struct {
	s *Server
}
