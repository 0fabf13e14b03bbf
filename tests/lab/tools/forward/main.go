// Command forward passes TCP connections on, so that pods reach an API server that listens on loopback only.
package main

import (
	"flag"
	"io"
	"log"
	"net"
)

func main() {
	listen := flag.String("listen", "", "address to listen on")
	to := flag.String("to", "", "address to connect to")
	flag.Parse()
	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		log.Fatal(err)
	}
	for {
		conn, err := listener.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go join(conn.(*net.TCPConn), *to)
	}
}

func join(from *net.TCPConn, address string) {
	defer from.Close()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		log.Print(err)
		return
	}
	to := conn.(*net.TCPConn)
	defer to.Close()
	done := make(chan struct{})
	go func() {
		io.Copy(to, from)
		to.CloseWrite()
		close(done)
	}()
	io.Copy(from, to)
	from.CloseWrite()
	<-done
}
