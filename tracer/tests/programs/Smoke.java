import java.io.IOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.file.Files;
import java.nio.file.Path;

/** Threads, files, sockets and a child; then waits for the end of its input, and ends with 5. */
public class Smoke {
    static void work(Path folder, int worker) {
        try {
            for (int i = 0; i < 100; i++) {
                Path file = folder.resolve(worker + "-" + i);
                Files.writeString(file, file.toString());
                if (!Files.readString(file).equals(file.toString())) {
                    throw new AssertionError(file);
                }
                Files.delete(file);
            }
        } catch (IOException error) {
            throw new RuntimeException(error);
        }
    }

    public static void main(String[] arguments) throws Exception {
        Thread[] threads = new Thread[8];
        for (int i = 0; i < threads.length; i++) {
            int worker = i;
            threads[i] = new Thread(() -> work(Path.of(arguments[0]), worker));
            threads[i].start();
        }
        for (Thread thread : threads) {
            thread.join();
        }
        try (ServerSocket server = new ServerSocket(0, 1, InetAddress.getLoopbackAddress());
                Socket client = new Socket(server.getInetAddress(), server.getLocalPort());
                Socket accepted = server.accept()) {
            client.getOutputStream().write(42);
            System.out.println("heard " + accepted.getInputStream().read());
        }
        System.out.println("child " + new ProcessBuilder("sh", "-c", "exit 7").start().waitFor());
        System.out.println("pid " + ProcessHandle.current().pid());
        while (System.in.read() >= 0) {}
        System.exit(5);
    }
}
