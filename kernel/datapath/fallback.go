package datapath

// fallBack opens NFLOG if redirects are wanted and no program of the daemon's reports them. It
// closes NFLOG once a program reports them. mu is held.
func (s *ebpfPath) fallBack() {
	needed := !s.ingress && s.cfg.Redirect && s.cfg.Mode == ""
	switch {
	case !needed && s.fallback != nil:
		s.endFallback()
	case needed && s.fallback == nil:
		path, err := attachNFLOG(s.log, s.cfg, s.state.Reason)
		if err != nil {
			s.state.Reason += "; " + oneLine(err)
			return
		}
		s.fallback = path
		s.runFallback()
	}
	if s.fallback != nil {
		s.state.Mode = ModeNFLOG
	}
}

// runFallback starts to read the redirects of NFLOG, if both NFLOG and Run are in use. mu is held.
func (s *ebpfPath) runFallback() {
	path, run := s.fallback, s.runner
	if path == nil || run == nil {
		return
	}
	run.tasks.Go(func() {
		err := path.Run(run.ctx, run.f)
		if err == nil {
			return
		}
		s.log.Warn("NFLOG failed, trying again", "error", err)
		s.mu.Lock()
		if s.fallback == path {
			s.endFallback()
		}
		s.mu.Unlock()
		s.requestComparison()
	})
}

// endFallback closes NFLOG and keeps its counts. mu is held.
func (s *ebpfPath) endFallback() {
	if err := s.fallback.Close(); err != nil {
		s.log.Warn("closing NFLOG failed", "error", err)
	}
	stats, _ := s.fallback.Stats()
	s.past.Sampled += stats.Sampled
	s.past.Lost += stats.Lost
	s.past.Foreign += stats.Foreign
	s.fallback = nil
}
