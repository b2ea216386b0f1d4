#!/usr/bin/env pwsh
# The twin of build.sh for PowerShell: the same verbs, for machines where PowerShell is the shell at hand. A test holds
# the two lists of verbs equal.
param([string]$Verb = "", [Parameter(ValueFromRemainingArguments = $true)][string[]]$Rest = @())

$ErrorActionPreference = "Stop"
Set-Location $PSScriptRoot

$Verbs = "doctor build test lint format bindings demo slora bench gpu-test asan tsan fuzz soak pack publish package-test ci" -split " "
$Configuration = "Release"
$Cli = "managed/SLoRA.Cli/bin/$Configuration/net10.0/slora.dll"

function Show-Usage {
    Write-Output "usage: ./build.ps1 VERB [ARGS]"
    Write-Output "verbs: $($Verbs -join ' ') (./build.sh without a verb says what each does)"
}

function Invoke-Checked {
    param([string]$Program, [string[]]$Arguments)
    & $Program @Arguments
    if ($LASTEXITCODE -ne 0) { throw "'$Program $($Arguments -join ' ')' ended with $LASTEXITCODE" }
}

function Assert-Setup {
    foreach ($tool in "dotnet", "cmake", "ninja") {
        if (-not (Get-Command $tool -ErrorAction SilentlyContinue)) {
            throw "$tool is missing; ./build.sh doctor lists the Debian packages, https://dot.net has the .NET 10 SDK"
        }
    }
}

function Build-Native {
    param([string]$Preset, [string]$Target = "all")
    if (-not (Test-Path "out/native/$Preset/build.ninja")) { Invoke-Checked cmake @("--preset", $Preset) }
    Invoke-Checked cmake @("--build", "--preset", $Preset, "--target", $Target)
}

function Build-Managed { Invoke-Checked dotnet @("build", "SLoRA.sln", "-c", $Configuration, "--nologo", "-v", "quiet") }

function Get-NativeFiles { git ls-files -- "*.cpp" "*.hpp" "*.h" "*.c" "*.cu" "*.cuh" ":!:interop/include" }

function Test-Native {
    param([string]$Preset)
    Invoke-Checked ctest @("--test-dir", "out/native/$Preset", "--output-on-failure", "--no-tests=error")
}

function Invoke-Doctor {
    foreach ($tool in "dotnet", "cmake", "ninja", "clang-format") {
        $state = if (Get-Command $tool -ErrorAction SilentlyContinue) { "ok      " } else { "missing " }
        Write-Output "$state $tool"
    }
    if (Test-Path $Cli) { Invoke-Checked dotnet @($Cli, "doctor") } else { Write-Output "not built yet: ./build.ps1 build" }
}

function Invoke-Build { Assert-Setup; Build-Native release; Build-Managed }

function Invoke-Test {
    Invoke-Build
    Invoke-Checked bash @("tests/managed/SLoRA.Tokenizers.Tests/oracle/fetch.sh")
    Test-Native release
    Invoke-Checked dotnet @("test", "--solution", "SLoRA.sln", "-c", $Configuration, "--no-build")
}

function Invoke-Lint {
    Assert-Setup
    Invoke-Checked clang-format (@("--dry-run", "-Werror") + (Get-NativeFiles))
    Invoke-Checked dotnet @("format", "whitespace", "SLoRA.sln", "--verify-no-changes", "--exclude", "interop/generated")
    Invoke-Bindings @("--check")
    Invoke-Bindings @("--lint")
}

function Invoke-Format {
    Invoke-Checked clang-format (@("-i") + (Get-NativeFiles))
    Invoke-Checked dotnet @("format", "whitespace", "SLoRA.sln", "--exclude", "interop/generated")
}

function Invoke-Bindings {
    param([string[]]$Arguments = @())
    if ($Arguments.Count -ge 2 -and $Arguments[0] -eq "--with" -and $Arguments[1] -eq "cppsharp") {
        Invoke-Checked bash @("interop/cppsharp/run.sh")
        return
    }
    Invoke-Checked dotnet (@("run", "--project", "interop/generator/SLoRA.BindingsGenerator", "-c", $Configuration, "--") + $Arguments)
}

# What the tool needs and no more: tests and benches take most of a build.
function Build-Tool {
    Assert-Setup
    Build-Native release slora
    Invoke-Checked dotnet @("build", "managed/SLoRA.Cli", "-c", $Configuration, "--nologo", "-v", "quiet")
}

function Invoke-Demo {
    Build-Tool
    Invoke-Checked dotnet (@($Cli, "demo", "--model", "assets/demo-model/base", "--adapters", "assets/demo-model/adapters") + $Rest)
}

function Invoke-Slora {
    Build-Tool
    Invoke-Checked dotnet (@($Cli) + $Rest)
}

function Invoke-Bench {
    Assert-Setup
    Build-Native release
    New-Item -ItemType Directory -Force out/bench | Out-Null
    Invoke-Checked out/native/release/bin/bench_host_kernels @("--json", "out/bench/host-kernels.json")
    Invoke-Checked out/native/release/bin/bench_step (@("--models", "bench/models", "--json", "out/bench/step.json") + $Rest)
}

function Invoke-Fuzz {
    Assert-Setup
    $seconds = if ($Rest.Count -gt 0) { $Rest[0] } else { "300" }
    Build-Native fuzz
    Invoke-Checked bash (@("tests/fuzz/run.sh", $seconds, "$PSScriptRoot/out/native/fuzz/bin") + ($Rest | Select-Object -Skip 1))
    if ($Rest.Count -gt 1) { return }
    $env:SLORA_FUZZ_SECONDS = $seconds
    foreach ($project in "tests/managed/SLoRA.Tokenizers.Tests", "tests/integration/SLoRA.Integration.Tests") {
        Invoke-Checked dotnet @("run", "--project", $project, "-c", $Configuration, "--", "-trait", "Category=Fuzz", "-parallelMode", "none")
    }
}

function Invoke-Soak {
    Assert-Setup
    Build-Native release slora
    $env:SLORA_SOAK_SECONDS = if ($Rest.Count -gt 0) { $Rest[0] } else { "600" }
    Invoke-Checked dotnet @("run", "--project", "tests/managed/SLoRA.Engine.Tests", "-c", $Configuration, "--", "-trait", "Category=Soak", "-parallelMode", "none")
}

function Invoke-Pack {
    Assert-Setup
    Build-Native release slora
    Remove-Item -Recurse -Force -ErrorAction SilentlyContinue out/packages
    Invoke-Checked dotnet @("pack", "packages.slnf", "-c", $Configuration, "--nologo", "-v", "quiet", "-o", "out/packages")
}

function Publish-Cli {
    param([string]$Folder, [string[]]$Options)
    Invoke-Checked dotnet (@("publish", "managed/SLoRA.Cli", "-c", $Configuration, "-r", "linux-x64", "--nologo", "-v", "quiet", "-o", $Folder) + $Options)
    Remove-Item "$Folder/*.dbg", "$Folder/*.xml", "$Folder/*.json"
    Copy-Item out/native/release/lib/libslora.so $Folder
}

function Invoke-Publish {
    Assert-Setup
    if ($Rest -contains "--cuda") { return Invoke-Checked bash @("build.sh", "publish", "--cuda") }
    Build-Native release slora
    Remove-Item -Recurse -Force -ErrorAction SilentlyContinue out/publish
    Publish-Cli out/publish/server @("-p:PublishSingleFile=true", "-p:PublishReadyToRun=true", "--self-contained")
    Publish-Cli out/publish/cli @("-p:PublishAot=true")
}

function Invoke-PackageTest {
    Invoke-Pack
    Invoke-Publish
    Invoke-Checked bash @("tests/packaging/packages_test.sh", $PSScriptRoot, "out/packages")
    Invoke-Checked bash @("tests/packaging/publish_test.sh", $PSScriptRoot, "out/publish")
}

switch ($Verb) {
    "" { Show-Usage }
    "doctor" { Invoke-Doctor }
    "build" { if ($Rest -contains "--cuda") { Invoke-Checked bash @("build.sh", "build", "--cuda") } else { Invoke-Build } }
    "test" { Invoke-Test }
    "lint" { Invoke-Lint }
    "format" { Invoke-Format }
    "bindings" { Assert-Setup; Invoke-Bindings $Rest }
    "demo" { Invoke-Demo }
    "slora" { Invoke-Slora }
    "bench" { Invoke-Bench }
    "gpu-test" { Invoke-Checked bash (@("tests/scripts/gpu_test.sh") + $Rest) }
    "asan" { Assert-Setup; Build-Native asan; Test-Native asan }
    "tsan" { Assert-Setup; Build-Native tsan; Test-Native tsan }
    "fuzz" { Invoke-Fuzz }
    "soak" { Invoke-Soak }
    "pack" { Invoke-Pack }
    "publish" { Invoke-Publish }
    "package-test" { Invoke-PackageTest }
    "ci" { Invoke-Lint; Invoke-Checked bash @("build.sh", "build", "--cuda"); Invoke-Test }
    default { Show-Usage; throw "there is no verb '$Verb'" }
}
