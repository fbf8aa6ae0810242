//! Names of businesses out of word lists; the words are separated by spaces.

use super::random::Random;

const FAMILIES: &str = "\
    Abbott Adeyemi Almeida Andersen Bauer Becker Bennett Castillo Chandra Chen Costa Dubois Eriksen \
    Ferrari Fischer Garcia Haddad Hansen Hughes Ivanov Jensen Kaplan Keller Kowalski Larsen \
    Lindqvist Lopez Mbeki Meyer Moreau Murphy Nakamura Nguyen Novak O'Brien Okafor Patel Petrov \
    Quinn Rossi Sato Schmidt Silva Suzuki Tanaka Vargas Weber Zhang";

const PLACES: &str = "\
    Alpine Amber Atlantic Bayside Bluewater Bridgeport Canyon Cedar Clearview Coastal Copper \
    Crescent Delta Eastgate Evergreen Fairview Granite Harbor Highland Hudson Ironwood Juniper \
    Keystone Lakeside Maple Meridian Midland Northern Oakridge Orchard Pacific Pioneer Prairie \
    Redwood Riverside Sierra Stonegate Summit Union Westbrook";

const TRADES: &str = "\
    Advisory Apparel Automotive Bakery Biotech Builders Catering Ceramics Chemicals Cleaning Coffee \
    Construction Consulting Dairy Design Distribution Electronics Energy Farms Foods Freight \
    Furniture Hardware Instruments Interiors Logistics Machinery Marine Media Medical Metals \
    Packaging Paper Pharma Plastics Printing Security Software Textiles Tools";

const FORMS: &str = "Inc. LLC Corp. Ltd. GmbH S.A. Group Partners";

/// A name such as `Harbor Textiles LLC` or `Okafor, Weber & Co.`.
pub fn draw(random: &mut Random) -> String {
    let (family, partner) = (random.word(FAMILIES), random.word(FAMILIES));
    let (place, trade, form) = (random.word(PLACES), random.word(TRADES), random.word(FORMS));
    match random.below(10) {
        0 if family != partner => format!("{family}, {partner} & Co."),
        1 | 2 => format!("{family} & Sons {trade}"),
        3..=5 => format!("{family} {trade} {form}"),
        _ => format!("{place} {trade} {form}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::random::Purpose;
    use super::*;

    #[test]
    fn names_are_several_words_on_one_line() {
        for id in 0..1000 {
            let name = draw(&mut Random::new(1, Purpose::Names, id));
            assert!(name.contains(' ') && !name.contains(['\n', '\t']) && name.len() < 60, "{name}");
        }
    }
}
