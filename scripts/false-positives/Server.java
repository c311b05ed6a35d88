import com.sun.net.httpserver.HttpServer;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.concurrent.Executors;

/** A service on the JVM as they are: a pool of threads, files, a child program, compiled code. */
public class Server {
    public static void main(String[] arguments) throws Exception {
        int port = Integer.parseInt(arguments[0]);
        HttpServer server = HttpServer.create(new InetSocketAddress("127.0.0.1", port), 0);
        server.setExecutor(Executors.newFixedThreadPool(4));
        server.createContext("/", exchange -> {
            byte[] answer;
            if (exchange.getRequestURI().getPath().equals("/child")) {
                Process child = new ProcessBuilder("uname", "-r").start();
                answer = child.getInputStream().readAllBytes();
            } else {
                Path upload = Files.createTempFile("upload", ".tmp");
                Files.writeString(upload, "data".repeat(1000));
                Files.delete(upload);
                answer = Integer.toString(work()).getBytes(StandardCharsets.UTF_8);
            }
            exchange.sendResponseHeaders(200, answer.length);
            exchange.getResponseBody().write(answer);
            exchange.close();
        });
        server.start();
    }

    private static int work() {
        int sum = 0;
        for (int number = 0; number < 20_000; number++) {
            sum += Integer.toHexString(number).hashCode();
        }
        return sum;
    }
}
