// The strings of the golden file: hand-picked corners first, then random ones by a seed. Nothing here depends on a
// vocabulary but the names of special tokens.
import { Random } from "./random.mjs";

const sentences = [
  "All human beings are born free and equal in dignity and rights.",
  "Alle Menschen sind frei und gleich an Würde und Rechten geboren.",
  "Tous les êtres humains naissent libres et égaux en dignité et en droits.",
  "Todos los seres humanos nacen libres e iguales en dignidad y derechos; ¿no es así?",
  "Todos os seres humanos nascem livres e iguais em dignidade e em direitos: são razão.",
  "Tutti gli esseri umani nascono liberi ed eguali in dignità e diritti.",
  "Wszyscy ludzie rodzą się wolni i równi pod względem swej godności i swych praw.",
  "Všichni lidé se rodí svobodní a sobě rovní co do důstojnosti a práv.",
  "Minden emberi lény szabadon születik és egyenlő méltósága és joga van.",
  "Bütün insanlar hür, haysiyet ve haklar bakımından eşit doğarlar. İstanbul'da ığdır.",
  "Tất cả mọi người sinh ra đều được tự do và bình đẳng về nhân phẩm và quyền lợi.",
  "Все люди рождаются свободными и равными в своём достоинстве и правах.",
  "Усі люди народжуються вільними і рівними у своїй гідності та правах. Їжак, ґанок.",
  "Сви људи рађају се слободни и једнаки у достојанству и правима.",
  "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια και τα δικαιώματα.",
  "Բոլոր մարդիկ ծնվում են ազատ ու հավասար՝ իրենց արժանապատվությամբ ու իրավունքներով։",
  "ყველა ადამიანი იბადება თავისუფალი და თანასწორი თავისი ღირსებითა და უფლებებით.",
  "כל בני האדם נולדו בני חורין ושווים בערכם ובזכויותיהם. שָׁלוֹם",
  "يولد جميع الناس أحرارًا متساوين في الكرامة والحقوق. ١٢٣٤٥",
  "تمام ابنای بشر آزاد به دنیا می‌آیند و از لحاظ حیثیت و حقوق با هم برابرند. ۱۲۳",
  "سب انسان آزاد اور حقوق و عزت کے اعتبار سے برابر پیدا ہوئے ہیں۔",
  "सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता और समानता प्राप्त है। १२३",
  "সমস্ত মানুষ স্বাধীনভাবে সমান মর্যাদা এবং অধিকার নিয়ে জন্মগ্রহণ করে। ৪৫৬",
  "மனிதப் பிறிவியினர் சகலரும் சுதந்திரமாகவே பிறக்கின்றனர்; உரிமைகளில் சமமானவர்கள்.",
  "ప్రతిపత్తిస్వత్వముల విషయమున మానవులెల్లరును జన్మతః స్వతంత్రులును సమానులును నగుదురు.",
  "ಎಲ್ಲಾ ಮಾನವರೂ ಸ್ವತಂತ್ರರಾಗಿಯೇ ಜನಿಸಿದ್ದಾರೆ.",
  "മനുഷ്യരെല്ലാവരും തുല്യാവകാശങ്ങളോടും അന്തസ്സോടും സ്വാതന്ത്ര്യത്തോടുംകൂടി ജനിച്ചിട്ടുള്ളവരാണ്.",
  "සියලු මනුෂ්‍යයෝ නිදහස්ව උපත ලබා ඇත. ගරුත්වයෙන් හා අයිතිවාසිකම්වලින් සමාන වෙති.",
  "ਸਾਰਾ ਮਨੁੱਖੀ ਪਰਿਵਾਰ ਆਪਣੀ ਮਹਿਮਾ, ਸ਼ਾਨ ਅਤੇ ਹੱਕਾਂ ਦੇ ਪੱਖੋਂ ਜਨਮ ਤੋਂ ਹੀ ਆਜ਼ਾਦ ਹੈ।",
  "પ્રતિષ્ઠા અને અધિકારોની દૃષ્ટિએ સર્વ માનવો જન્મથી સ્વતંત્ર અને સમાન હોય છે.",
  "มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์และสิทธิ ๑๒๓๔",
  "ມະນຸດທຸກຄົນເກີດມາມີກຽດສັກສີ, ສິດທິ, ເສລີພາບແລະຄວາມສະເໝີພາບເທົ່າທຽມກັນ.",
  "មនុស្សទាំងអស់ កើតមកមានសេរីភាព និងសមភាព ក្នុងផ្នែកសេចក្ដីថ្លៃថ្នូរនិងសិទ្ធិ។",
  "လူတိုင်းသည် တူညီ လွတ်လပ်သော ဂုဏ်သိက္ခာဖြင့် လည်းကောင်း မွေးဖွားလာသူများ ဖြစ်သည်။",
  "འགྲོ་བ་མིའི་རིགས་རྒྱུད་ཡོངས་ལ་སྐྱེས་ཙམ་ཉིད་ནས་ཆེ་མཐོངས་དང༌།",
  "人人生而自由,在尊严和权利上一律平等。他们赋有理性和良心。",
  "人人生而自由,在尊嚴和權利上一律平等。𠮷野家で𩸽を食べる。",
  "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。ガギグゲゴ ガギ",
  "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다. 각각 한글",
  "ሁሉም ሰዎች ነጻ ሆነው የተወለዱ ናቸው። በክብርና በመብት እኩል ናቸው።",
  "Binadamu wote wamezaliwa huru, hadhi na haki zao ni sawa.",
  "Gbogbo ènìyàn ni a bí ní òmìnira; iyì àti ẹ̀tọ́ kọ̀ọ̀kan sì dọ́gba.",
  "Хүн бүр төрж мэндлэхдээ эрх чөлөөтэй, адилхан нэр төртэй. ᠬᠦᠮᠦᠨ ᠪᠦᠷ",
  "ᏂᎦᏓ ᎠᏂᏴᏫ ᏂᎨᎫᏓᎸᎾ ᎠᎴ ᎤᏂᏠᏱ ᎤᎾᏕᎿ. ꭰꮒꮿ",
  "ᓱᕈᓯᓕᒫᑦ ᐃᓅᓕᕋᑖᕐᓯᒪᕗᑦ ᐊᔪᕐᓇᕈᓐᓃᓯᒪᓪᓗᑎᒃ.",
  "𐌰𐌻𐌻𐌰𐌹 𐌼𐌰𐌽𐌽𐌰𐌽𐍃 𐍆𐍂𐌴𐌹𐌰𐌹 𓀀𓂀𓃀 𐎀𐎁𐎂 𒀀𒁀𒂀 𝓗𝓮𝓵𝓵𝓸 𝟙𝟚𝟛 𝔘𝔫𝔦𝔠𝔬𝔡𝔢",
];

const code = [
  "def f(x):\n    return x**2 if x > 0 else -x  # comment\n\n\nclass A(B):\n\tpass\n",
  "for (int i = 0; i < n; ++i) {\n    sum += a[i] * b[i];\n}\n",
  '{"name": "Lucy", "age": 44, "tags": ["a", "b"], "nested": {"x": null, "y": -1.5e-10}}',
  "SELECT t.id, COUNT(*) FROM t WHERE t.name LIKE '%o''brien%' GROUP BY 1 HAVING COUNT(*) > 3;",
  "<div class=\"a b\"><p>it's &amp; &lt;ok&gt;</p><!-- no --></div>",
  "#include <vector>\ntemplate <class T> auto&& operator<<(T&& t, std::vector<int>{}) noexcept(false);\r\n",
  "$ git log --oneline | head -n 20 && echo \"$HOME/${x:-y}\" > /dev/null 2>&1",
  "https://example.com/a/b?c=d&e=%20f#g user.name+tag@example.co.uk 192.168.0.1:8080 ::1",
  "\\begin{align} \\int_0^\\infty e^{-x^2}\\,dx &= \\frac{\\sqrt{\\pi}}{2} \\end{align}",
  "if(a!=b&&c<=d||!e){return~f^g|h&i>>2<<3;}//x/*y*/",
  "λ x → x ∘ f ≡ ∀ y ∈ ℝ, ∃ ε > 0 ∧ ‖x − y‖₂ ≤ ε ⊕ ∅ ⟨a|b⟩ ½ ¼ ² ³ ① Ⅳ ⅷ",
  "| a | b |\n|---|:-:|\n| `x` | **y** |\n\n- [ ] todo\n- [x] done\n\n> quote\n\n```cs\nvar x = 1;\n```\n",
];

const specials = [
  "<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>", "<|finetune_right_pad_id|>",
  "<|reserved_special_token_7|>", "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>", "<tool_call>", "</tool_call>",
  "<|fim_prefix|>", "<s>", "</s>", "<unk>", "<bos>", "<eos>", "<pad>", "<start_of_turn>", "<end_of_turn>", "<unused7>", "<0x0A>",
];

const emoji = [
  "😀", "👍🏽", "🤷🏽‍♀️", "👩‍👩‍👧‍👦", "🏳️‍🌈", "🏴‍☠️", "🏴󠁧󠁢󠁷󠁬󠁳󠁿", "🇩🇪", "🇫🇷🇯🇵", "1️⃣", "#️⃣", "❤️", "❤", "☺︎", "🫱🏿‍🫲🏻", "🧑🏾‍🚀", "👨‍💻", "🫠", "©️", "™",
];

// Whole scripts and kinds of characters: ranges of code points, unassigned ones within left out by Unicode property.
const ranges = {
  latin: [0x41, 0x24f], ipa: [0x250, 0x2ff], marks: [0x300, 0x36f], greek: [0x370, 0x3ff], cyrillic: [0x400, 0x52f],
  armenian: [0x531, 0x58f], hebrew: [0x591, 0x5f4], arabic: [0x600, 0x6ff], syriac: [0x700, 0x74f], thaana: [0x780, 0x7b1],
  nko: [0x7c0, 0x7ff], samaritan: [0x800, 0x83e], devanagari: [0x900, 0x97f], bengali: [0x980, 0x9fe], gurmukhi: [0xa01, 0xa76],
  gujarati: [0xa81, 0xaff], oriya: [0xb01, 0xb77], tamil: [0xb82, 0xbfa], telugu: [0xc00, 0xc7f], kannada: [0xc80, 0xcf2],
  malayalam: [0xd00, 0xd7f], sinhala: [0xd81, 0xdf4], thai: [0xe01, 0xe5b], lao: [0xe81, 0xedf], tibetan: [0xf00, 0xfda],
  myanmar: [0x1000, 0x109f], georgian: [0x10a0, 0x10ff], jamo: [0x1100, 0x11ff], ethiopic: [0x1200, 0x137c], cherokee: [0x13a0, 0x13fd],
  canadian: [0x1400, 0x167f], ogham: [0x1680, 0x169c], runic: [0x16a0, 0x16f8], khmer: [0x1780, 0x17f9], mongolian: [0x1800, 0x18aa],
  balinese: [0x1b00, 0x1b7c], vedic: [0x1cd0, 0x1cfa], latinMore: [0x1e00, 0x1eff], greekMore: [0x1f00, 0x1ffe], punctuation: [0x2000, 0x206f],
  scripts: [0x2070, 0x209c], currency: [0x20a0, 0x20c0], letterlike: [0x2100, 0x218b], arrows: [0x2190, 0x21ff], math: [0x2200, 0x22ff],
  technical: [0x2300, 0x23ff], enclosed: [0x2460, 0x24ff], boxes: [0x2500, 0x25ff], symbols: [0x2600, 0x27bf], braille: [0x2800, 0x28ff],
  glagolitic: [0x2c00, 0x2c5f], coptic: [0x2c80, 0x2cff], tifinagh: [0x2d30, 0x2d7f], radicals: [0x2e80, 0x2fd5], cjkPunctuation: [0x3000, 0x303f],
  kana: [0x3041, 0x30ff], bopomofo: [0x3105, 0x312f], cjkMore: [0x3190, 0x33ff], cjk: [0x4e00, 0x9fa5], yi: [0xa000, 0xa48c], vai: [0xa500, 0xa62b],
  hangul: [0xac00, 0xd7a3], jamoMore: [0xd7b0, 0xd7fb], private: [0xe000, 0xe0ff], compatibility: [0xf900, 0xfad9], forms: [0xfb00, 0xfdff],
  halfwidth: [0xff00, 0xffef], linearB: [0x10000, 0x100fa], gothic: [0x10330, 0x1034a], brahmi: [0x11000, 0x1106f], cuneiform: [0x12000, 0x12399],
  hieroglyphs: [0x13000, 0x1342e], music: [0x1d100, 0x1d1e8], mathLetters: [0x1d400, 0x1d7ff], adlam: [0x1e900, 0x1e95f], dominoes: [0x1f000, 0x1f0f5],
  pictures: [0x1f300, 0x1f64f], transport: [0x1f680, 0x1f6fc], pictures2: [0x1f900, 0x1f9ff], cjkB: [0x20000, 0x2a6df], tags: [0xe0020, 0xe007f],
};

const spaces = [" ", "\t", "\n", "\r", "\r\n", "\v", "\f", "\u0085", "\u00a0", "\u1680", "\u2002", "\u2009", "\u2028", "\u2029", "\u202f", "\u205f", "\u3000"];
const invisible = ["\u200b", "\u200c", "\u200d", "\u200e", "\u2060", "\ufeff", "\u00ad", "\u180e", "\u034f", "\ufe0f", "\u001c", "\u001f", "\u007f", "\u0000"];
const contractions = ["'s", "'S", "'t", "'re", "'RE", "'Ve", "'m", "'ll", "'lL", "'d", "'D", "'ſ", "'x", "’s", "'", "''s", "'ſt", "'K"];

function assigned([low, high]) {
  const all = [];
  for (let c = low; c <= high; c++) {
    const text = String.fromCodePoint(c);
    if (!/\p{Cn}/u.test(text)) all.push(text);
  }
  return all;
}

function corners() {
  const list = ["", "a", "A", "é", "e\u0301", "\u0301", "ﬁ", "Å", "\u212b", "ﬃx", "ǆ", "ß", "ẞ", "İ", "ı", "Ω\u2126", "\u0344", "\u1e9b\u0323"];
  for (let n = 1; n <= 24; n++) list.push(" ".repeat(n), " ".repeat(n) + "x", "x" + " ".repeat(n), "\n".repeat(n), "\t".repeat(n) + "x");
  for (let n = 1; n <= 20; n++) list.push("1234567890123456789012".slice(0, n), " " + "9".repeat(n), "a" + "0".repeat(n) + "b");
  for (const s of spaces) list.push(s, s + s, "a" + s + "b", "a" + s, s + "b", " " + s + " ", s + "\n" + s, "1" + s + "2", "." + s + ".");
  for (const s of invisible) list.push(s, "a" + s + "b", s + "a", "a" + s, s + s, " " + s + " ");
  for (let c = 0; c < 32; c++) list.push("x" + String.fromCharCode(c) + "y");
  for (const c of contractions) list.push(c, "it" + c, "it" + c + "x", "IT" + c + " ", " " + c, "1" + c, c + c, c.toUpperCase());
  for (const e of emoji) list.push(e, " " + e, e + e, "a" + e + "b", e + "\n", e + "!");
  for (const s of specials) {
    list.push(s, "a" + s + "b", " " + s + " ", s + s, s.slice(0, -1), s.slice(1), s.toUpperCase(), s + "\n\n" + s, "  " + s + "\n x");
  }
  for (const s of sentences) list.push(s, s.normalize("NFD"), s.normalize("NFC"), s.normalize("NFKD"), s.toUpperCase());
  for (const c of code) list.push(c, c.replaceAll("\n", "\r\n"), "  " + c);
  for (const c of ["\u0000", "\ufffe", "\uffff", "\ufffd", "\u{1fffe}", "\u{10ffff}", "\u{10fffd}", "\ue000"]) list.push(c, "a" + c + " b");
  for (const c of ["a", "é", "の", "ab", "xyz ", "😀", "1", "=", "-", " .", "\n ", "ac", "\u0301"]) list.push(c.repeat(70), c.repeat(513));
  list.push("The quick brown fox jumps over the lazy dog. ".repeat(20), "pneumonoultramicroscopicsilicovolcanoconiosis", "a\u0316\u0301".repeat(40));
  list.push("▁", "▁▁", "a▁b", " ▁ ", "▁ a", "<0x41>", "<0xE3><0x81>", "Ġ", "ĠHello", "Ċ", "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n");
  return list;
}

function randoms(random) {
  const list = [];
  const scripts = Object.values(ranges).map(assigned);
  const anyScript = () => random.pick(random.pick(scripts));
  for (const script of scripts) {
    const word = () => random.join(1, 9, () => random.pick(script));
    for (let i = 0; i < 6; i++) list.push(random.join(1, 6, word, " "));
  }
  for (let i = 0; i < 250; i++) list.push(random.join(1, 24, anyScript));
  for (let i = 0; i < 120; i++) list.push(random.join(1, 20, () => random.pick(random.unit() < 0.7 ? spaces : ["a", "B", "7", ".", "é", "日"])));
  for (let i = 0; i < 120; i++) list.push(random.join(1, 30, () => String.fromCharCode(random.int(32, 126))));
  for (let i = 0; i < 60; i++) list.push(random.join(1, 30, () => String.fromCharCode(random.int(0, 255))));
  for (let i = 0; i < 120; i++) list.push(random.join(1, 14, () => anyAssigned(random)));
  const base = ["a", "e", "o", "A", "ſ", "q", "ü", "ệ", "가", "ᄀ", "ᅡ", "ᆨ", "あ", "か", "ハ", "ω", "क", "ด"];
  const mark = () => String.fromCodePoint(random.unit() < 0.8 ? random.int(0x300, 0x34e) : random.pick([0x3099, 0x309a, 0x93c, 0x5bf, 0xe38, 0x1161, 0x11a8]));
  for (let i = 0; i < 150; i++) list.push(random.join(1, 6, () => random.pick(base) + random.join(0, 4, mark)));
  const digits = ["0", "7", "42", "٣", "५", "Ⅳ", "½", "²", "𝟙", "①", "〇", ",", ".", "-", "e", "x", " "];
  for (let i = 0; i < 80; i++) list.push(random.join(1, 16, () => random.pick(digits)));
  const words = [...sentences, ...code].flatMap((text) => text.split(" "));
  const anything = [() => random.pick(words), () => random.pick(emoji), () => random.pick(specials), () => random.pick(contractions), anyScript,
    () => random.pick(invisible), () => String(random.int(0, 10 ** random.int(1, 12)))];
  for (let i = 0; i < 300; i++) list.push(random.join(2, 24, () => random.pick(anything)() + (random.unit() < 0.6 ? random.pick(spaces) : "")));
  for (let i = 0; i < 60; i++) list.push(random.join(20, 60, () => random.pick(words), " "));
  for (let i = 0; i < 20; i++) list.push(random.join(300, 900, () => String.fromCharCode(random.int(97, 122))));
  return list;
}

function anyAssigned(random) {
  for (;;) {
    const text = String.fromCodePoint(random.int(0, 0x323af));
    if (!/[\p{Cn}\p{Cs}]/u.test(text)) return text;
  }
}

// Which code points are assigned is Node's to say: another Unicode version gives another list. The golden file names
// the version that it was made with.
export function strings() {
  const all = [...corners(), ...randoms(new Random(20260213))];
  return [...new Set(all)];
}
