package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"syscall"
)

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func main() {
	var all sync.WaitGroup
	for worker := range 8 {
		all.Add(1)
		go func() {
			defer all.Done()
			for i := range 100 {
				name := fmt.Sprintf("%s/%d-%d", os.Args[1], worker, i)
				check(os.WriteFile(name, []byte(name), 0o600))
				text, err := os.ReadFile(name)
				check(err)
				if string(text) != name {
					panic(name)
				}
				check(os.Remove(name))
			}
		}()
	}
	all.Wait()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	go func() {
		connection, err := net.Dial("tcp", listener.Addr().String())
		check(err)
		fmt.Fprint(connection, "hello")
		connection.Close()
	}()
	connection, err := listener.Accept()
	check(err)
	buffer := make([]byte, 5)
	_, err = connection.Read(buffer)
	check(err)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGUSR1)
	check(syscall.Kill(os.Getpid(), syscall.SIGUSR1))
	output, err := exec.Command("echo", "child").Output()
	check(err)
	fmt.Println(string(buffer), <-signals, string(output))
	os.Exit(6)
}
