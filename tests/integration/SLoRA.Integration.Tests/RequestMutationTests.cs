// Requests changed at random: answered, or refused as a wrong request, and everything is free afterwards.
using System.Text;
using SLoRA.Engine.Tests.Fakes;
using SLoRA.Fuzzing;

namespace SLoRA.Integration.Tests;

[Trait("Category", "Fuzz")]
public class RequestMutationTests
{
    private static readonly string[] Good =
    [
        """/v1/completions {"model":"base","prompt":"Hello","max_tokens":3,"temperature":0.7,"top_p":0.9,"top_k":5,"min_p":0.1,"seed":7,"n":2,"stop":["x","yz"]}""",
        """/v1/completions {"prompt":["a",[1,2,3]],"max_tokens":2,"logprobs":2,"stream":true,"stream_options":{"include_usage":true},"ignore_eos":true}""",
        """/v1/completions {"prompt":[5,6],"max_tokens":2,"logit_bias":{"7":-100},"presence_penalty":0.5,"frequency_penalty":-1,"stop_token_ids":[3],"user":"u"}""",
        """/v1/chat/completions {"model":"base","messages":[{"role":"system","content":"Be brief."},{"role":"user","content":[{"type":"text","text":"Hi"}]}],"max_tokens":3}""",
        """/v1/chat/completions {"messages":[{"role":"user","content":"x"}],"max_completion_tokens":2,"logprobs":true,"top_logprobs":2,"stream":true}""",
        """/v1/load_lora_adapter {"lora_name":"x","lora_path":"/does/not/exist"}""",
        """/v1/unload_lora_adapter {"lora_name":"nobody"}""",
    ];

    [Fact]
    public async Task Requests_are_answered_or_refused_and_leave_nothing_behind()
    {
        Mutations mutations = new(
            "request", Good, ["\"messages\"", "\"role\"", "\"content\"", "\"prompt\"", "\"stop\"", "\"stream\"", "\"n\"", "\"tools\"", "\"user\"", "\"logit_bias\"", "1", "511", "600"]);
        await using var host = await TestHost.StartFakeAsync();
        await mutations.RunAsync(TestEngine.RepositoryRoot, async input =>
        {
            // The change may hit the path: whatever is no path of ours goes to the first.
            var end = input.IndexOf(' ', StringComparison.Ordinal);
            var path = end > 0 && Array.Exists(Good, good => good.StartsWith(input[..(end + 1)], StringComparison.Ordinal)) ? input[..end] : "/v1/completions";
            using var content = new ByteArrayContent(Encoding.UTF8.GetBytes(input[(end + 1)..]));
            using var response = await host.Client.PostAsync(new Uri(path, UriKind.Relative), content);
            var text = await response.Content.ReadAsStringAsync();
            var status = (int)response.StatusCode;
            Assert.True(status is 200 or 400 or 404 or 413, $"{status} {text}");
        });
        await host.AssertServingAndFreeAsync();
    }
}
