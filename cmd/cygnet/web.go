package main

import (
	"fmt"
	"log/slog"
	"net"
	"syscall"

	"cygnet/nhrpd/api"
	"cygnet/nhrpd/config"
	"cygnet/nhrpd/web"
)

// defaultWeb is where the page is served without --listen.
const defaultWeb = "127.0.0.1:8116"

// serveWeb serves the page of the mesh, until it is interrupted.
func serveWeb(in *invocation, _ string) error {
	token := ""
	if in.tokenFile != "" {
		var err error
		if token, err = web.ReadToken(in.tokenFile); err != nil {
			return err
		}
	}
	at, err := web.CheckListen(in.listen, token != "")
	if err != nil {
		return usagef("--listen: %v", err)
	}
	l, err := net.Listen("tcp", at.String())
	if err != nil {
		return fmt.Errorf("serve the page: %w", err)
	}
	log := slog.New(slog.NewTextHandler(in.stderr, nil))
	socket := viewSocket(in.socket)
	log.Info("the mesh is shown", "address", "http://"+l.Addr().String()+"/",
		"token", token != "", "socket", socket)
	return web.Serve(in.ctx, l, web.Handler(web.Options{
		Client: api.Dial(socket), Token: token, Hosts: in.hosts, Log: log,
	}), log)
}

// viewSocket returns the socket for those who only look, beside that of an API, if this process may
// use it.
func viewSocket(socket string) string {
	const write = 2 // of access(2)
	if view := config.ViewSocket(socket); syscall.Access(view, write) == nil {
		return view
	}
	return socket
}

const webHelp = `  web [--listen ADDRESS:PORT] [--token-file FILE] [--host NAME]
Serves a page with the mesh as this router knows it, until it is interrupted: the routers and the paths to them as they
come and go, the problems of status, the events, and explain. It only looks, and uses view.sock where there is one. The
unit cygnet-web.service does so as a user of its own. Without --listen the page is at http://127.0.0.1:8116/, for
whoever is on this machine. Any other address than loopback needs --token-file: a file with at least 32 characters,
which nobody else can read; a browser asks for them once. --host names a name, besides addresses and localhost, by
which browsers reach the page; it may be given several times. The connection is not encrypted: go by the overlay,
ssh -L or a proxy with TLS.`
