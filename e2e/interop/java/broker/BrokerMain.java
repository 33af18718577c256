import io.rsocket.core.Resume;
import java.time.Duration;
import org.springframework.boot.SpringApplication;
import org.springframework.boot.SpringBootConfiguration;
import org.springframework.boot.autoconfigure.EnableAutoConfiguration;
import org.springframework.boot.autoconfigure.condition.ConditionalOnProperty;
import org.springframework.boot.rsocket.server.RSocketServerCustomizer;
import org.springframework.context.annotation.Bean;

/** rsocket-broker as its users run it. It has no setting for resumption: --resume=true shows what a user adds. */
@SpringBootConfiguration
@EnableAutoConfiguration
public class BrokerMain {
  public static void main(String[] args) {
    SpringApplication.run(BrokerMain.class, args);
  }

  @Bean
  @ConditionalOnProperty("resume")
  RSocketServerCustomizer resume() {
    return server -> server.resume(new Resume().sessionDuration(Duration.ofMinutes(2))
        .storeFactory(token -> new io.rsocket.resume.InMemoryResumableFramesStore("broker", token, 64 << 20)));
  }
}
